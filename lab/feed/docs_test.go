package feed

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// jsonKeys are those of a type and of all that it holds.
func jsonKeys(of reflect.Type, seen map[reflect.Type]bool, keys map[string]bool) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice:
		jsonKeys(of.Elem(), seen, keys)
	case reflect.Map:
		jsonKeys(of.Elem(), seen, keys)
	case reflect.Struct:
		if seen[of] || of.PkgPath() != reflect.TypeFor[Message]().PkgPath() {
			return
		}
		seen[of] = true
		for field := range of.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			keys[name] = true
			jsonKeys(field.Type, seen, keys)
		}
	}
}

// The manual names every key, and its examples are messages.
func TestManualHasEveryKeyAndAnExampleOfEachMessage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/feed.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]bool)
	jsonKeys(reflect.TypeFor[Message](), make(map[reflect.Type]bool), keys)
	if len(keys) < 90 {
		t.Errorf("only %d keys", len(keys))
	}
	for key := range keys {
		if !bytes.Contains(page, []byte("`"+key+"`")) {
			t.Errorf("docs/feed.md does not name %s", key)
		}
	}
	examples := make(map[string]bool)
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, `{"`) {
			continue
		}
		strict := json.NewDecoder(strings.NewReader(line))
		strict.DisallowUnknownFields()
		var m Message
		if err := strict.Decode(&m); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		of := reflect.ValueOf(m)
		for i := range of.NumField() {
			if !of.Field(i).IsZero() {
				examples[of.Type().Field(i).Name] = true
			}
		}
	}
	if want := reflect.TypeFor[Message]().NumField(); len(examples) != want {
		t.Errorf("there are examples of %d of %d messages: %v", len(examples), want, examples)
	}
}
