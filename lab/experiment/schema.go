package experiment

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"go.yaml.in/yaml/v4"

	"trivet/internal/nearest"
	"trivet/lab/scenario"
)

//go:embed schema.json
var schemaText []byte

// Schema returns the JSON Schema (2020-12) of an experiment's file. Read validates against it, and editors complete and explain keys
// with it: with
//
//	# yaml-language-server: $schema=FILE
//
// at the top of an experiment. Beside the standard keywords it has errorMessage, what is wanted, which editors show, too; and
// durationRange and maxPerSecond, the limits of durations and rates, which the standard has no keywords for.
func Schema() []byte { return slices.Clone(schemaText) }

// A schema is a part of schema.json: a JSON object.
type schema map[string]any

const schemaURL = "trivet:///schema.json"

// theSchema returns schema.json, raw and compiled.
var theSchema = sync.OnceValues(func() (schema, *jsonschema.Schema) {
	raw, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaText))
	c := jsonschema.NewCompiler()
	if err := errors.Join(err, c.AddResource(schemaURL, raw)); err != nil {
		panic(err) // A test compiles it.
	}
	return raw.(map[string]any), c.MustCompile(schemaURL)
})

// resolved is s with what its $ref refers to; s's own keywords take precedence.
func (s schema) resolved() schema {
	name, ok := strings.CutPrefix(s.text("$ref"), "#/$defs/")
	if !ok {
		return s
	}
	root, _ := theSchema()
	all := maps.Clone(root.sub("$defs").sub(name))
	maps.Copy(all, s)
	return all
}

func (s schema) sub(key string) schema {
	sub, _ := s[key].(map[string]any)
	return sub
}

func (s schema) text(key string) string {
	text, _ := s[key].(string)
	return text
}

// of is the schema of a member of an object or a list; nil if there is none.
func (s schema) of(key string) schema {
	member := s.sub("items")
	if s.sub("properties")[key] != nil {
		member = s.sub("properties").sub(key)
	} else if more := s.sub("additionalProperties"); more != nil {
		member = more
	}
	return member.resolved()
}

// keys are the keys that an object may have.
func (s schema) keys() []string { return slices.Sorted(maps.Keys(s.sub("properties"))) }

// wants says what the schema wants of a value.
func (s schema) wants() string {
	want := s.text("errorMessage")
	if of, ok := s["durationRange"].([]any); ok {
		return fmt.Sprintf("%s, from %v to %v", want, of[0], of[1])
	}
	if want != "" {
		return want
	}
	switch s.text("type") {
	case "boolean":
		return "want true or false"
	case "integer":
		return fmt.Sprintf("want a whole number, %v to %v", s["minimum"], s["maximum"])
	case "array":
		return "want a list"
	case "object":
		return "want a mapping, with " + strings.Join(s.keys(), ", ")
	}
	return "want text"
}

// validate adds what the schema has against a document.
func (d *document) validate(root any) {
	_, compiled := theSchema()
	if err, ok := errors.AsType[*jsonschema.ValidationError](compiled.Validate(root)); ok {
		d.explain(err)
	}
}

// explain adds a diagnostic for each error that a validation error consists of.
func (d *document) explain(err *jsonschema.ValidationError) {
	switch err.ErrorKind.(type) {
	case *kind.OneOf, *kind.PropertyNames: // Their causes say less than they do.
	default:
		if len(err.Causes) > 0 {
			for _, cause := range err.Causes {
				d.explain(cause)
			}
			return
		}
	}
	root, _ := theSchema()
	at, of := "", root
	for _, key := range err.InstanceLocation {
		at, of = child(at, key), of.of(key)
	}
	by := byURL(err.SchemaURL)
	name, n := nameOf(err.InstanceLocation), d.nodes[at]
	switch k := err.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, key := range k.Properties {
			d.add(where(d.keys[child(at, key)]), "unknown key %s%s", clip(key), hint(key, of.keys()))
		}
	case *kind.Required:
		missing := " is missing"
		if name != theFile {
			missing += " in " + name
		}
		if by["properties"] == nil && by["errorMessage"] != nil {
			missing += ": " + by.text("errorMessage")
		}
		for _, key := range k.Missing {
			d.add(where(n), "%s%s", key, missing)
		}
	case *kind.OneOf:
		d.add(where(n), "%s: %s", name, by.text("errorMessage"))
	case *kind.PropertyNames:
		d.chosenName(k.Property, by.resolved())
	default:
		if d.invalid[at] {
			return // One error per value.
		}
		d.invalid[at] = true
		d.add(where(n), "%s", wrong(err.ErrorKind, name, target(n), of, by))
	}
}

// chosenName adds a key that a mapping with chosen names may not have. The library does not say where it stands: its InstanceLocation is
// overwritten. So all such keys of mappings of that kind are looked for; each is added once.
func (d *document) chosenName(key string, want schema) {
	root, _ := theSchema()
	for to, n := range d.keys {
		parent := to[:strings.LastIndexByte(to, '/')]
		of := root
		for _, key := range strings.Split(parent, "/")[1:] {
			of = of.of(unescape.Replace(key))
		}
		if to != child(parent, key) || d.invalid[to] || of["propertyNames"] == nil || !reflect.DeepEqual(of.sub("propertyNames").resolved(), want) {
			continue
		}
		d.invalid[to] = true
		d.add(where(n), "%q in %s: %s", clip(key), parent[strings.LastIndexByte(parent, '/')+1:], want.wants())
	}
}

// wrong says what is wrong with a value: of is its schema, and by the part of the schema that refuses it.
func wrong(err jsonschema.ErrorKind, name string, n *yaml.Node, of, by schema) string {
	want := by.text("errorMessage")
	if want == "" || of["durationRange"] != nil && strings.HasPrefix(want, "want ") {
		want = of.wants()
	}
	switch k := err.(type) {
	case *kind.Enum:
		words := list(k.Want)
		meant := ""
		if len(words) > 1 {
			meant = nearest.Hint(fmt.Sprint(k.Got), words)
		}
		return fmt.Sprintf("%s is %s: want %s%s", name, describe(n), strings.Join(words, " or "), meant)
	case *kind.MinItems, *kind.MaxItems:
		want = fmt.Sprintf("at most %v", of["maxItems"])
		switch least := of["minItems"]; least {
		case nil:
		case of["maxItems"]:
			want = fmt.Sprint(least)
		default:
			want = fmt.Sprintf("%v to %v", least, of["maxItems"])
		}
		return fmt.Sprintf("%s has %d entries: want %s", name, len(n.Content), want)
	case *kind.MinProperties, *kind.MaxProperties:
		return fmt.Sprintf("%s has %d keys: %s", name, len(n.Content)/2, want)
	case *kind.MaxLength:
		return fmt.Sprintf("%s has %d characters: want at most %d", name, k.Got, k.Want)
	}
	switch {
	case !strings.HasPrefix(want, "want "):
		return want // It says all.
	case want == "want text" && n.Kind == yaml.ScalarNode && !strings.HasPrefix(n.Tag, "!!"):
		return fmt.Sprintf("%s begins with %s, which YAML takes for a tag: put it in quotes", name, n.Tag)
	case n.Kind == yaml.MappingNode && strings.HasPrefix(name, "expect["):
		return fmt.Sprintf(`%s is read as a key and its value: put an expectation that contains ": " or " #" in quotes`, name)
	case want == "want text" && n.Kind == yaml.ScalarNode && n.Tag != "!!str" && n.Tag != "!!null":
		want += "; put it in quotes if it is meant so"
	}
	return fmt.Sprintf("%s is %s: %s", name, describe(n), want)
}

// byURL is the part of schema.json at a URL with a JSON pointer.
func byURL(location string) schema {
	root, _ := theSchema()
	_, fragment, _ := strings.Cut(location, "#/")
	pointer, _ := url.PathUnescape(fragment)
	var part any = map[string]any(root)
	for key := range strings.SplitSeq(pointer, "/") {
		if list, ok := part.([]any); ok {
			i, _ := strconv.Atoi(key)
			part = list[i]
		} else if key != "" {
			part = part.(map[string]any)[key]
		}
	}
	s, _ := part.(map[string]any)
	return s
}

// nameOf is how messages call a value: load[0], or its key.
func nameOf(path []string) string {
	if len(path) == 0 {
		return theFile
	}
	last := path[len(path)-1]
	if _, err := strconv.Atoi(last); err == nil && len(path) > 1 {
		return path[len(path)-2] + "[" + last + "]"
	}
	return last
}

const theFile = "the file"

// filled is a validated value as the Go types of this package want it: with defaults, durations in nanoseconds, rates as scenario.Rate,
// and null in the place of what is invalid.
func (d *document) filled(s schema, v any, at, name string) any {
	text, isText := v.(string)
	if d.invalid[at] && !isText {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		return d.filledObject(s, v, at)
	case []any:
		items := make([]any, len(v))
		for i, item := range v {
			items[i] = d.filled(s.of(""), item, child(at, strconv.Itoa(i)), fmt.Sprintf("%s[%d]", name, i))
		}
		return items
	}
	of, isDuration := s["durationRange"].([]any)
	isRate, isSize := s["maxPerSecond"] != nil, s["maxBytes"] != nil
	switch {
	case !isText:
		return v
	case d.invalid[at] && (isDuration || isRate || isSize || s["type"] != "string"):
		return nil
	case isDuration:
		return d.duration(text, of, at, name, s.wants())
	case isRate:
		return d.rate(s, text, at, name)
	case isSize:
		return d.size(s, text, at, name)
	case d.invalid[at] && s["enum"] != nil: // The nearest word, so that the rest can be checked.
		return nearest.Name(text, list(s["enum"].([]any)))
	}
	return text
}

// list are the words of a keyword.
func list(words []any) (all []string) {
	for _, word := range words {
		all = append(all, fmt.Sprint(word))
	}
	return all
}

func (d *document) filledObject(s schema, v map[string]any, at string) any {
	all := map[string]any{}
	for key := range s.sub("properties") {
		of := s.of(key)
		if given, ok := v[key]; ok {
			all[key] = d.filled(of, given, child(at, key), key)
		}
		if initial, ok := of["default"]; ok && all[key] == nil {
			all[key] = d.filled(of, initial, child(at, key)+"/default", key)
		}
	}
	if s["maxPerSecond"] != nil {
		return d.changingRate(all, at)
	}
	if s["properties"] == nil && s["additionalProperties"] == nil { // whatever it has
		return v
	}
	if s.sub("additionalProperties") != nil {
		for key, value := range v {
			all[key] = d.filled(s.of(key), value, child(at, key), key)
		}
	}
	return all
}

// reject adds a value that the schema's standard keywords cannot refuse.
func (d *document) reject(at, name, want string) {
	d.invalid[at] = true
	d.add(where(d.nodes[at]), "%s is %s: %s", name, describe(target(d.nodes[at])), want)
}

func (d *document) duration(text string, of []any, at, name, want string) any {
	least, _ := time.ParseDuration(of[0].(string))
	most, _ := time.ParseDuration(of[1].(string))
	duration, err := time.ParseDuration(text)
	if err != nil || duration < least || duration > most {
		d.reject(at, name, want)
		return nil
	}
	return duration
}

// rate is "300/s" or "30/m": as a whole rate a scenario.Rate, as an entry of a ramp or step a number.
func (d *document) rate(s schema, text, at, name string) any {
	number, unit, _ := strings.Cut(text, "/")
	perSecond, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if strings.TrimSpace(unit) == "m" {
		perSecond /= 60
	}
	most, _ := s["maxPerSecond"].(json.Number).Float64()
	if err != nil || perSecond > most {
		d.reject(at, name, s.wants())
		return nil
	}
	if s["properties"] == nil {
		return perSecond
	}
	return scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{perSecond}}
}

// size is "100kB" as a number of bytes.
func (d *document) size(s schema, text, at, name string) any {
	number := strings.TrimRight(text, " BkKMi")
	n, err := strconv.ParseInt(number, 10, 64)
	n *= map[string]int64{"B": 1, "kB": 1000, "MB": 1e6, "KiB": 1 << 10, "MiB": 1 << 20}[strings.TrimSpace(text[len(number):])]
	if most, _ := s["maxBytes"].(json.Number).Int64(); err != nil || n < 1 || n > most {
		d.reject(at, name, s.wants())
		return nil
	}
	return n
}

// changingRate is a ramp, step or rate by phase as rateKeys; nil if it is invalid.
func (d *document) changingRate(shapes map[string]any, at string) any {
	if phases, ok := shapes["phases"].(map[string]any); ok {
		if !d.valid(at) {
			return nil
		}
		return map[string]any{"phases": phases}
	}
	for _, shape := range []string{scenario.Ramp, scenario.Step} {
		entries, _ := shapes[shape].([]any)
		if to := child(at, shape); d.valid(to) && d.valid(at) {
			rate := scenario.Rate{Shape: shape}
			for _, entry := range entries {
				rate.PerSecond = append(rate.PerSecond, entry.(float64))
			}
			if slices.Max(rate.PerSecond) == 0 {
				d.invalid[to] = true
				d.add(where(d.nodes[to]), "%s has no rate above 0", shape)
				return nil
			}
			return rate
		}
	}
	return nil
}
