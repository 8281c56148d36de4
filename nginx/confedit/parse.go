package confedit

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A statement is one directive of a configuration file, with its position. Offsets are in bytes.
type statement struct {
	file       string // relative to conf/
	line       int    // of the first word, from 1
	words      []word // its name and its arguments; at least one
	start, end int    // from the first word to behind the ";" or the "}"
	block      bool
	open       int // of a block: behind its "{"
	body       []*statement
}

// A word is the name or an argument of a directive, as nginx reads it, without quotes. Offsets include the quotes.
type word struct {
	text       string
	start, end int
}

// deepest is how deep blocks may be nested; nginx itself needs five levels.
const deepest = 20

// errUnfinished reports a text that ends inside a directive, a block or quotes.
var errUnfinished = errors.New(`unexpected end, expecting ";" or "}"`)

// parse parses the text of one file by the rules of nginx's ngx_conf_read_token. It does not know directives, and includes nothing.
func parse(file, text string) ([]*statement, error) {
	s := scanner{file: file, text: text, line: 1}
	top := &statement{}
	open := []*statement{top} // the blocks around what comes next, the innermost last
	var d *statement          // the directive that has begun
	for {
		w, kind, err := s.next()
		if err != nil {
			return nil, err
		}
		in := open[len(open)-1]
		switch {
		case kind == 'w':
			if d == nil {
				d = &statement{file: file, line: s.began, start: w.start}
			}
			d.words = append(d.words, w)
		case kind == 0 && d == nil && in == top:
			return top.body, nil
		case kind == 0:
			return nil, errUnfinished
		case (kind == '}') != (d == nil) || kind == '}' && in == top:
			return nil, s.errorf("unexpected %q", string(kind))
		case kind == '}':
			open, in.end = open[:len(open)-1], s.at
		default:
			in.body, d.end, d.open = append(in.body, d), s.at, s.at
			d.block = kind == '{'
			if d.hasLua() {
				if err := s.skipLua(d); err != nil {
					return nil, err
				}
				d.end = s.at
			} else if d.block {
				if open = append(open, d); len(open) > deepest {
					return nil, s.errorf("blocks are nested more than %d deep", deepest)
				}
			}
			d = nil
		}
	}
}

// A scanner splits a text into words and punctuation.
type scanner struct {
	file, text string
	at         int // offset of what comes next
	line       int // there
	began      int // the line of what came last
}

// errorf returns an error with its position, except in the first line of a text that is no file.
func (s *scanner) errorf(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	switch {
	case s.file != "":
		return fmt.Errorf("%s:%d: %s", s.file, s.line, text)
	case s.line > 1:
		return fmt.Errorf("line %d: %s", s.line, text)
	}
	return errors.New(text)
}

// The parts of a text, by nginx's ngx_conf_read_token.
var (
	blanks     = regexp.MustCompile(`^(?:[ \t\r\n]|#[^\n]*)*`)
	quoted     = regexp.MustCompile(`^(?s:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')`)
	bare       = regexp.MustCompile(`^(?s:\$\{*|\\.?|[^ \t\r\n;{$\\])+`) // ${name} is a part of the word.
	afterQuote = regexp.MustCompile(`^(?:[ \t\r\n;{)]|$)`)               // What may follow a quoted word.
)

// next returns the next token: a word (kind w), one of ; { }, or the end (kind 0).
func (s *scanner) next() (w word, kind byte, err error) {
	s.pass(len(blanks.FindString(s.text[s.at:])))
	s.began = s.line
	rest := s.text[s.at:]
	if rest == "" {
		return word{}, 0, nil
	}
	whole := bare.FindString(rest)
	text := whole
	switch c := rest[0]; c {
	case ';', '{', '}':
		s.at++
		return word{}, c, nil
	case '"', '\'':
		if whole = quoted.FindString(rest); whole == "" {
			return word{}, 0, errUnfinished
		}
		if after := rest[len(whole):]; !afterQuote.MatchString(after) {
			return word{}, 0, s.errorf("unexpected %q after a closing quote", after[:1])
		}
		text = whole[1 : len(whole)-1]
	}
	start := s.at
	s.pass(len(whole))
	return word{plain(text), start, s.at}, 'w', nil
}

// pass moves on by some bytes.
func (s *scanner) pass(size int) {
	s.line += strings.Count(s.text[s.at:s.at+size], "\n")
	s.at += size
}

// plain replaces the escapes that nginx replaces. Others stay: they belong to the directive, as in a regular expression.
var plain = strings.NewReplacer(`\"`, `"`, `\'`, `'`, `\\`, `\`, `\t`, "\t", `\r`, "\r", `\n`, "\n").Replace

// words splits a text that is nothing but words.
func words(text string) ([]string, error) {
	s := scanner{text: text, line: 1}
	var all []string
	for {
		w, kind, err := s.next()
		if err != nil || kind == 0 {
			return all, err
		}
		if kind != 'w' {
			return nil, s.errorf("unexpected %q", string(kind))
		}
		all = append(all, w.text)
	}
}

// oneDirective parses a text that must be exactly one directive. The final ";" is optional; without it, end is one more than the length
// of text.
func oneDirective(text string) (*statement, error) {
	body, err := parse("", text)
	if errors.Is(err, errUnfinished) {
		if body, err = parse("", text+";"); err != nil {
			return nil, errors.New("is not finished: a quote or a block is open at its end")
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("is not one directive: %w", err)
	case len(body) == 0:
		return nil, errors.New("is empty")
	case len(body) > 1:
		return nil, fmt.Errorf("is %d directives: write an edit for each", len(body))
	}
	return body[0], nil
}
