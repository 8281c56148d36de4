package ledger

import "iter"

// idSet is a set of numbers from 0 on that come roughly in order: a bit each, and none for those below the first missing one.
type idSet struct {
	base int64    // all below are in the set
	bits []uint64 // from base on; base is a multiple of 64
}

func (s *idSet) has(n int64) bool {
	if n < s.base {
		return true
	}
	word := (n - s.base) / 64
	return word < int64(len(s.bits)) && s.bits[word]&(1<<(n%64)) != 0
}

func (s *idSet) add(n int64) {
	if n < s.base {
		return
	}
	word := (n - s.base) / 64
	for int64(len(s.bits)) <= word {
		s.bits = append(s.bits, 0)
	}
	s.bits[word] |= 1 << (n % 64)
	for len(s.bits) > 0 && s.bits[0] == ^uint64(0) {
		s.bits, s.base = s.bits[1:], s.base+64
	}
}

// missing are the numbers below end that are not in the set.
func (s *idSet) missing(end int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for n := s.base; n < end; n++ {
			if !s.has(n) && !yield(n) {
				return
			}
		}
	}
}
