package confedit

import (
	"path/filepath"
	"strings"
	"testing"
)

// luaCodes holds code that ends where the Lua module (libnginx-mod-http-lua 0.10.23 with nginx 1.22.1) ends it, or is refused.
var luaCodes = []struct{ code, refused string }{
	{`ngx.say("hi")`, ""},
	{`local t = {a = {1}}; local n = #t`, ""},
	{`ngx.say("}")`, ""},
	{`ngx.say('\'}')`, ""},
	{`ngx.say("\\")`, ""},
	{`a = "'" b = '"' c = "\z  }"`, ""},
	{"-- } it's\n", ""},
	{"-- [[ }\n x = {}", ""},
	{"---[[ }\n", ""},
	{"--[ }\n", ""},
	{"--[==x }\n", ""},
	{"--[[ }\n ]] x = 1", ""},
	{"--[==[ ]] } ]==] x = 1", ""},
	{"x = [[ } ]]", ""},
	{"x = [=[ ]] } \"\n ]=]", ""},
	{"x = a --[[}]] - b", ""},
	{`x = t[t2[1]] y = t[ [[}]] ]`, ""},
	{`x = [==  1`, ""},
	{`return ngx.re.match(s, "a{2}$")`, ""},
	{`x = "abc`, "its string in line 2 has no end"},
	{"\n\nx = 'a\n}'", "its string in line 4 has no end"},
	{"x = \"a\\\n}\"", "its string in line 2 has no end"},
	{"x = [[a]", "its long bracket in line 2 has no end"},
	{"\n--[=[ } ]]", "its comment in line 3 has no end"},
	{"-- }", `it has no closing "}"`},
	{"{", `it has no closing "}"`},
}

func TestLuaBlockIsKeptWhole(t *testing.T) {
	t.Parallel()
	for _, c := range luaCodes {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			name := filepath.Join(dir, "nginx.conf")
			before := "http {\n\tcontent_by_lua_block {" + c.code + "}"
			const after = " # Lua\n\tkeepalive_timeout 1s; }\n"
			if c.refused != "" {
				write(t, name, before)
				err := Apply(dir, []Edit{{Context: "http", Directive: "keepalive_timeout 2s"}}, nil)
				want := "nginx.conf:2: the Lua code of content_by_lua_block cannot be read: " + c.refused + "; close it, or put the code into a file and use content_by_lua_file"
				if err == nil || !strings.HasSuffix(err.Error(), want) {
					t.Errorf("got %v\nwant %s", err, want)
				}
				return
			}
			write(t, name, before+after)
			if err := Apply(dir, []Edit{{Context: "http", Directive: "keepalive_timeout 2s"}}, nil); err != nil {
				t.Fatal(err)
			}
			if got, want := read(t, name), before+" # Lua\n\tkeepalive_timeout 2s; # was: keepalive_timeout 1s;\n\t }\n"; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestLuaBlockIsSetAndRemovedAsAWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "nginx.conf")
	write(t, name, "http {\n\tserver {\n\t\tset_by_lua_block $n { return #\"}\" }\n\t\taccess_by_lua_block {\n\t\t\tlocal t = {} -- }\n\t\t}\n\t}\n}\n")
	for _, e := range []Edit{
		{Context: "server", Directive: "set_by_lua_block $n { return '{' }"},
		{Context: "server", Remove: "access_by_lua_block"},
		{Context: "server", Directive: "log_by_lua_block { local n = #ngx.var.uri }"},
	} {
		if err := Apply(dir, []Edit{e}, nil); err != nil {
			t.Error(err)
		}
	}
	want := "http {\n\tserver {\n\t\tlog_by_lua_block { local n = #ngx.var.uri } # added\n\t\tset_by_lua_block $n { return '{' } # was: set_by_lua_block $n { … }\n\t\t# was: access_by_lua_block { … }\n\t}\n}\n"
	if got := read(t, name); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEditsInsideLuaAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "nginx.conf")
	const text = "http {\n\taccess_by_lua_block {\n\t\tdeny(); allow();\n\t}\n}\n"
	write(t, name, text)
	for _, c := range []struct {
		edit    Edit
		message string
	}{
		{Edit{Context: "access_by_lua_block", Directive: "deny all"}, `context "access_by_lua_block" is Lua code (nginx.conf:2), which holds no directives: replace the block as a whole`},
		{Edit{Context: "http access_by_lua_block", Remove: "deny();"}, `remove "deny();" is neither`},
		{Edit{Context: "http access_by_lua_block", Remove: "deny()"}, "is Lua code"},
		{Edit{Context: "access_by_lua_block deny()", Parameter: "x"}, "is Lua code"},
		{Edit{Context: "http", Directive: "content_by_lua_block { x = '\n}"}, "is not one directive: the Lua code of content_by_lua_block cannot be read: its string in line 1 has no end"},
		{Edit{Context: "http", Directive: "if ($a)\n{\n content_by_lua_block { ngx.say(']]')"}, `is not one directive: line 3: the Lua code of content_by_lua_block cannot be read: it has no closing "}"`},
	} {
		if err := Apply(dir, []Edit{c.edit}, nil); err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%+v: got %v, want %s", c.edit, err, c.message)
		}
	}
	if got := read(t, name); got != text {
		t.Errorf("the file is now %s", got)
	}
}
