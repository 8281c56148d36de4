package ledger

import (
	"fmt"
	"math/bits"

	"trivet/lab/record"
)

// maxNumbers is how far apart the numbers of a start's arrivals may be.
const maxNumbers = 1 << 26

// numbers are those of the arrivals in a start that was there before the trial: a bit for each.
type numbers struct {
	words     []uint64
	from      uint64 // the number of the first bit, a multiple of 64
	low, high uint64 // of the arrivals of the trial's own requests; high 0: there are none
	twice     int
	apart     bool // some are too far from the others
}

func (n *numbers) add(number uint64, planned bool) {
	word := number / 64
	first := n.from / 64
	switch {
	case len(n.words) == 0:
		first, n.from, n.words = word, word*64, make([]uint64, 1)
	case word < first && first+uint64(len(n.words))-word > maxNumbers/64, word >= first && word-first > maxNumbers/64:
		n.apart = true
		return
	case word < first:
		n.words = append(make([]uint64, first-word), n.words...)
		first, n.from = word, word*64
	}
	for first+uint64(len(n.words)) <= word {
		n.words = append(n.words, 0)
	}
	if at, bit := &n.words[word-first], uint64(1)<<(number%64); *at&bit != 0 {
		n.twice++
	} else {
		*at |= bit
	}
	if planned {
		if n.high == 0 || number < n.low {
			n.low = number
		}
		n.high = max(n.high, number)
	}
}

// wrong says, in words, what cannot be; "" if nothing. Others call the instance, too, also while the records of the trial begin and end: so
// only between the trial's first and last arrival each number must be there.
func (n *numbers) wrong() string {
	missing := uint64(0)
	if n.high > 0 {
		missing = n.high - n.low + 1 - n.between()
	}
	switch {
	case n.apart:
		return fmt.Sprintf("the numbers of its arrivals in %s are further apart than %d", record.InstancesFile, maxNumbers)
	case n.twice > 0:
		return fmt.Sprintf("%s has %d of its arrivals twice", record.InstancesFile, n.twice)
	case missing > 0:
		return fmt.Sprintf("it counted %d arrivals from its first of this trial to its last, and %s lacks %d of them", n.high-n.low+1, record.InstancesFile, missing)
	}
	return ""
}

// between is how many numbers there are from low to high.
func (n *numbers) between() (sum uint64) {
	for i, word := range n.words {
		at := n.from + 64*uint64(i)
		if at+63 < n.low || at > n.high {
			continue
		}
		if n.low > at {
			word &= ^uint64(0) << (n.low - at)
		}
		if n.high < at+63 {
			word &= ^uint64(0) >> (at + 63 - n.high)
		}
		sum += uint64(bits.OnesCount64(word))
	}
	return sum
}
