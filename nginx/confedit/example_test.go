package confedit_test

import (
	"fmt"
	"os"
	"path/filepath"

	"trivet/nginx/confedit"
)

// Both edits name their place by its enclosing blocks. Comments show what was there before.
func ExampleApply() {
	dir, err := os.MkdirTemp("", "conf")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "nginx.conf")
	const text = `events {}
http {
	upstream api {
		server 127.0.0.1:8001;
		keepalive 256;
	}
}
`
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		fmt.Println(err)
		return
	}
	err = confedit.Apply(dir, []confedit.Edit{
		{Context: "upstream api", Directive: "keepalive 4"},
		{Context: "upstream api server", Parameter: "max_fails=0"},
	}, nil)
	after, readErr := os.ReadFile(name)
	fmt.Print(string(after), err, readErr)
	// Output:
	// events {}
	// http {
	// 	upstream api {
	// 		server 127.0.0.1:8001 max_fails=0; # was: server 127.0.0.1:8001;
	// 		keepalive 4; # was: keepalive 256;
	// 	}
	// }
	// <nil> <nil>
}
