package experiment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"trivet/internal/nearest"
)

// A decoder reads YAML into the types of keys.go, and finds all that is wrong on the way.
type decoder struct {
	faults
	lines  []string            // of the file
	nodes  map[any]*yaml.Node  // what was given for a value, by the pointer to it
	unread map[*yaml.Node]bool // what could not be read: nobody wrote what stands in its place, so that the rest can be checked
	left   int                 // how many more nodes may be read: aliases make many of few
}

// mostNodes is far more than a file of the largest size has without aliases.
const mostNodes = 300_000

// own is a type that decodes itself.
type own interface {
	decode(d *decoder, n *yaml.Node, name string)
}

// document reads the one document of a file. It returns false when there is none to go on with.
func (d *decoder) document(source []byte, into *document) bool {
	d.lines = strings.Split(string(source), "\n")
	yamls := yaml.NewDecoder(bytes.NewReader(source))
	var first, second yaml.Node
	if err := yamls.Decode(&first); errors.Is(err, io.EOF) || err == nil && len(first.Content) == 0 {
		d.add(spot{1, 1}, "the file is empty: want an experiment, with question, load, phases and expect")
		return false
	} else if err != nil {
		d.syntax(err)
		return false
	}
	if err := yamls.Decode(&second); err == nil {
		d.add(spot{second.Line, max(1, second.Column)}, "a second document begins here: want one experiment a file")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
	}
	d.value(reflect.ValueOf(into).Elem(), first.Content[0], "the file", "")
	return true
}

// given is the node of what a pointer leads to; nil when the file does not have it.
func (d *decoder) given(pointer any) *yaml.Node { return d.nodes[pointer] }

// value reads n into v, which name and tag belong to.
func (d *decoder) value(v reflect.Value, n *yaml.Node, name string, tag reflect.StructTag) {
	d.nodes[v.Addr().Interface()] = n
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if d.left--; d.left < 0 {
		if d.left == -1 {
			d.add(where(n), "the aliases of this file make more than %d values of it", mostNodes)
		}
		return
	}
	if o, ok := v.Addr().Interface().(own); ok {
		o.decode(d, n, name)
		return
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		v.SetInt(int64(d.duration(n, name, tag)))
	case v.Kind() == reflect.Struct:
		d.structure(v, n, name)
	case v.Kind() == reflect.Slice:
		d.list(v, n, name, tag)
	case v.Kind() == reflect.String:
		v.SetString(d.text(n, name, tag))
	case v.Kind() == reflect.Bool:
		if n.Tag != "!!bool" {
			d.wrong(n, name, "true or false")
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case v.Kind() == reflect.Uint64:
		var u uint64
		if n.Tag != "!!int" || n.Decode(&u) != nil {
			d.wrong(n, name, "a whole number, 0 or more")
			return
		}
		v.SetUint(u)
	default:
		v.SetInt(int64(d.number(n, name, tag)))
	}
}

// wrong says that a value is not what is wanted.
func (d *decoder) wrong(n *yaml.Node, name, want string) {
	d.unread[n] = true
	d.add(where(n), "%s is %s: want %s", name, describe(n), want)
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode && len(n.Content) == 0:
		return "an empty mapping"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	case n.Tag == "!!str":
		return fmt.Sprintf("%q", clip(n.Value))
	}
	return clip(n.Value)
}

// structure reads a mapping into a struct, by the yaml tags of its fields.
func (d *decoder) structure(v reflect.Value, n *yaml.Node, name string) {
	d.defaults(v)
	fields, names := fieldsOf(v.Type())
	if n.Kind != yaml.MappingNode {
		d.wrong(n, name, "a mapping, with "+strings.Join(names, ", "))
		return
	}
	for key, value := range d.pairs(n) {
		i, ok := fields[key.Value]
		switch {
		case key.Tag == "!!merge":
			d.add(where(key), "<< is not known here: write the keys out")
		case !ok:
			d.add(where(key), "unknown key %s: did you mean %s?", clip(key.Value), nearest.Name(key.Value, names))
		default:
			d.value(v.Field(i), value, key.Value, v.Type().Field(i).Tag)
		}
	}
	for _, key := range names {
		if i := fields[key]; v.Type().Field(i).Tag.Get("need") != "" && d.given(v.Field(i).Addr().Interface()) == nil {
			d.add(where(n), "%s is missing%s", key, inside(name))
		}
	}
}

func inside(name string) string {
	if name == "the file" {
		return ""
	}
	return " in " + name
}

// fieldsOf is where each key belongs, and the keys in order.
func fieldsOf(t reflect.Type) (map[string]int, []string) {
	fields, names := map[string]int{}, []string(nil)
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("yaml"); key != "" {
			fields[key], names = i, append(names, key)
		}
	}
	return fields, names
}

// defaults fills in what the file may leave out, all the way down.
func (d *decoder) defaults(v reflect.Value) {
	for i := range v.NumField() {
		field, text := v.Field(i), v.Type().Field(i).Tag.Get("default")
		if field.Kind() == reflect.Struct && field.Type() != reflect.TypeFor[rateKeys]() {
			d.defaults(field)
		}
		if text == "" {
			continue
		}
		switch field.Kind() {
		case reflect.String:
			field.SetString(text)
		case reflect.Bool:
			field.SetBool(text == "true")
		default:
			field.Set(reflect.ValueOf(quantity(text)).Convert(field.Type()))
		}
	}
}

// quantity is a number of a tag: a count, or a duration in nanoseconds.
func quantity(text string) int64 {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		panic(err) // The tags are ours.
	}
	return int64(duration)
}

// pairs are the keys of a mapping with their values, each key once.
func (d *decoder) pairs(n *yaml.Node) func(func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		lines := map[string]int{}
		for pair := range slices.Chunk(n.Content, 2) {
			key := pair[0]
			if key.Kind == yaml.AliasNode {
				key = key.Alias
			}
			if key.Kind != yaml.ScalarNode {
				d.add(where(pair[0]), "%s stands where a key should: want a name; one with braces or brackets in it wants quotes", describe(key))
				continue
			}
			if line, twice := lines[key.Value]; twice {
				d.add(where(pair[0]), "key %q stands here a second time; the first is in line %d", clip(key.Value), line)
				continue
			}
			lines[key.Value] = pair[0].Line
			if !yield(key, pair[1]) {
				return
			}
		}
	}
}

func (d *decoder) list(v reflect.Value, n *yaml.Node, name string, tag reflect.StructTag) {
	if n.Kind != yaml.SequenceNode {
		d.wrong(n, name, "a list")
		return
	}
	least, most := limits(tag)
	if count := int64(len(n.Content)); count < least || count > most {
		want := fmt.Sprintf("%d to %d", least, most)
		if least == most {
			want = fmt.Sprint(least)
		}
		d.add(where(n), "%s has %d entries: want %s", name, count, want)
		return
	}
	// Made at once, because the nodes are known by the addresses of what they were read into.
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.value(v.Index(i), item, fmt.Sprintf("%s[%d]", name, i), "")
	}
}

const anyNumber = int64(^uint64(0) >> 1)

// limits are those of a tag.
func limits(tag reflect.StructTag) (least, most int64) {
	least, most = 0, anyNumber
	if text := tag.Get("least"); text != "" {
		least = quantity(text)
	}
	if text := tag.Get("most"); text != "" {
		most = quantity(text)
	}
	return least, most
}

func (d *decoder) number(n *yaml.Node, name string, tag reflect.StructTag) int {
	least, most := limits(tag)
	var number int64
	if n.Tag != "!!int" || n.Decode(&number) != nil || number < least || number > most {
		d.wrong(n, name, fmt.Sprintf("a whole number, %d to %d", least, most))
		return int(max(1, least)) // So that the rest can be checked all the same.
	}
	return int(number)
}

func (d *decoder) duration(n *yaml.Node, name string, tag reflect.StructTag) time.Duration {
	least, most := limits(tag)
	duration, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || !durations.MatchString(n.Value) || int64(duration) < least || int64(duration) > most {
		d.wrong(n, name, fmt.Sprintf("a duration with a unit, %s to %s, like 250ms, 2s or 1m30s", tag.Get("least"), tag.Get("most")))
		return time.Duration(least)
	}
	return duration
}

// durations are how they are written, here and for the schema.
var durations = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`)

func (d *decoder) text(n *yaml.Node, name string, tag reflect.StructTag) string {
	switch {
	case n.Kind == yaml.MappingNode && strings.HasPrefix(name, "expect["):
		d.add(where(n), `%s is read as a key and its value: put an expectation with ": " or " #" in it in quotes`, name)
		return ""
	case n.Kind == yaml.ScalarNode && !strings.HasPrefix(n.Tag, "!!"):
		d.add(where(n), "%s begins with %s, which YAML takes for a tag: put it in quotes", name, n.Tag)
		return ""
	case n.Kind == yaml.ScalarNode && n.Tag != "!!str" && n.Tag != "!!null":
		d.wrong(n, name, "text; put it in quotes if it is meant so")
		return ""
	case n.Kind != yaml.ScalarNode || strings.TrimSpace(n.Value) == "" || n.Tag == "!!null":
		d.wrong(n, name, "text")
		return ""
	}
	if of := strings.Fields(tag.Get("enum")); len(of) > 0 && !slices.Contains(of, n.Value) {
		d.add(where(n), "%s is %q: want %s: did you mean %s?", name, clip(n.Value), strings.Join(of, " or "), nearest.Name(n.Value, of))
		return of[0]
	}
	if tag.Get("identifier") != "" {
		d.identifier(n, name, n.Value)
	}
	return n.Value
}

var identifiers = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// identifier refuses a name that an expression could not say.
func (d *decoder) identifier(n *yaml.Node, what, name string) {
	if !identifiers.MatchString(name) {
		d.add(where(n), "%s is %q: want a name of small letters, digits and _, at most 64, that begins with a letter", what, clip(name))
	} else if reserved(name) {
		d.add(where(n), "%s is %q, which means something else in expectations: choose another name", what, name)
	}
}

func (o *ordered[T]) decode(d *decoder, n *yaml.Node, name string) {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 || len(n.Content) > 2*20 {
		d.wrong(n, name, "a mapping of 1 to 20 names")
		return
	}
	*o = make(ordered[T], 0, len(n.Content)/2) // Never longer: addresses must stay.
	for key, value := range d.pairs(n) {
		*o = append(*o, entry[T]{Name: key.Value})
		e := &(*o)[len(*o)-1]
		d.nodes[&e.Name] = key
		d.identifier(key, "variant", key.Value)
		if key.Value == Only {
			d.add(where(key), "variant is %q, as that of a file without variants is called: choose another name", Only)
		}
		d.value(reflect.ValueOf(&e.Value).Elem(), value, key.Value, "")
	}
}

func (t *targets) decode(d *decoder, n *yaml.Node, name string) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	if len(items) == 0 || len(items) > 60 || n.Kind == yaml.MappingNode {
		d.wrong(n, name, "an instance, a list of 1 to 60 instances, or all")
		return
	}
	*t = make(targets, len(items))
	for i, item := range items {
		d.value(reflect.ValueOf(t).Elem().Index(i), item, name, "")
	}
}
