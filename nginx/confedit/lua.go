package confedit

import (
	"fmt"
	"strings"
)

// hasLua reports whether the block of d holds Lua code: content_by_lua_block and its like. nginx hands such a block to the Lua module
// as it stands, so that nginx's own rules for words, quotes and comments do not apply in it ("#t" is a length, not a comment).
func (d *statement) hasLua() bool {
	return d.block && strings.HasSuffix(d.words[0].text, "_by_lua_block")
}

// skipLua moves behind the "}" that closes the Lua block of d, as the Lua module finds it: braces in strings, long brackets and
// comments do not count. It refuses code that the Lua module and Lua itself read differently, because an edit could split it.
func (s *scanner) skipLua(d *statement) error {
	line := s.line // of the "{"
	for depth := 1; depth > 0; {
		if s.at == len(s.text) {
			return s.luaError(d, line, `it has no closing "}"`)
		}
		rest := s.text[s.at:]
		size, what := 1, ""
		switch c := rest[0]; {
		case c == '{':
			depth++
		case c == '}':
			depth--
		case c == '"' || c == '\'':
			size, what = luaString(rest), "string"
		case strings.HasPrefix(rest, "--"):
			size, what = luaComment(rest), "comment"
		case longBracket(rest) > 0:
			size, what = luaLong(rest), "long bracket"
		}
		if size < 0 {
			return s.luaError(d, line, fmt.Sprintf("its %s in line %d has no end", what, s.line))
		}
		s.line += strings.Count(rest[:size], "\n")
		s.at += size
	}
	return nil
}

func (s *scanner) luaError(d *statement, line int, why string) error {
	name := d.words[0].text
	s.line = line
	return s.errorf("the Lua code of %s cannot be read: %s; close it, or put the code into a file and use %s",
		name, why, strings.TrimSuffix(name, "block")+"file")
}

// luaString returns the length of the quoted string at the start of text, -1 if the string does not end on its line. Lua also accepts an
// escaped line break in a string; the Lua module does not.
func luaString(text string) int {
	for i := 1; i < len(text) && text[i] != '\n'; i++ {
		switch text[i] {
		case text[0]:
			return i + 1
		case '\\':
			if i++; i < len(text) && text[i] == '\n' {
				return -1
			}
		}
	}
	return -1
}

// luaComment returns the length of the comment at the start of text, without the line break; -1 if it has no end.
func luaComment(text string) int {
	if longBracket(text[2:]) > 0 {
		if size := luaLong(text[2:]); size > 0 {
			return 2 + size
		}
		return -1
	}
	if end := strings.IndexByte(text, '\n'); end >= 0 {
		return end
	}
	return len(text)
}

// longBracket returns the length of the opening long bracket, "[[" or "[==[", at the start of text, 0 if there is none.
func longBracket(text string) int {
	if text == "" || text[0] != '[' {
		return 0
	}
	size := 1 + len(text[1:]) - len(strings.TrimLeft(text[1:], "="))
	if size == len(text) || text[size] != '[' {
		return 0
	}
	return size + 1
}

// luaLong returns the length of the long bracket at the start of text with what it holds; -1 if it has no end.
func luaLong(text string) int {
	opening := longBracket(text)
	closing := "]" + text[1:opening-1] + "]"
	end := strings.Index(text[opening:], closing)
	if end < 0 {
		return -1
	}
	return opening + end + len(closing)
}
