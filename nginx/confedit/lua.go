package confedit

import (
	"fmt"
	"regexp"
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
		switch s.text[s.at] {
		case '{':
			depth++
		case '}':
			depth--
		}
		size, what := luaToken(s.text[s.at:])
		if size == 0 {
			return s.luaError(d, line, fmt.Sprintf("its %s in line %d has no end", what, s.line))
		}
		s.pass(size)
	}
	return nil
}

func (s *scanner) luaError(d *statement, line int, why string) error {
	name := d.words[0].text
	s.line = line
	return s.errorf("the Lua code of %s cannot be read: %s; close it, or put the code into a file and use %s",
		name, why, strings.TrimSuffix(name, "block")+"file")
}

var (
	// luaString is a quoted string. Lua also accepts an escaped line break in one; the Lua module does not.
	luaString = regexp.MustCompile(`^(?:"(?:\\[^\n]|[^"\\\n])*"|'(?:\\[^\n]|[^'\\\n])*')`)
	// luaLong is what opens a long bracket, "[[" or "[==[", or a comment of that kind.
	luaLong    = regexp.MustCompile(`^(--)?\[(=*)\[`)
	luaComment = regexp.MustCompile(`^--[^\n]*`)
)

// luaToken returns the length and the kind of the string, comment or long bracket at the start of text, 0 if it has no end; any other
// character is a token of its own.
func luaToken(text string) (size int, kind string) {
	opening := luaLong.FindStringSubmatch(text)
	switch {
	case opening != nil:
		kind = "long bracket"
		if opening[1] != "" {
			kind = "comment"
		}
		closing := "]" + opening[2] + "]"
		if held, _, ok := strings.Cut(text[len(opening[0]):], closing); ok {
			size = len(opening[0]) + len(held) + len(closing)
		}
		return size, kind
	case text[0] == '"' || text[0] == '\'':
		return len(luaString.FindString(text)), "string"
	}
	return max(1, len(luaComment.FindString(text))), "comment"
}
