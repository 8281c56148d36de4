package experiment

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/builtin"
	"github.com/google/jsonschema-go/jsonschema"

	"trivet/lab/load"
)

//go:embed keys.go
var keys string

// Schema is the JSON Schema (2020-12) of an experiment's file, for editors: with
//
//	# yaml-language-server: $schema=FILE
//
// at the top of an experiment they complete its keys and say what those mean. It is made from the same types as the decoder, which finds
// more: a schema cannot look at two keys at once, nor into expectations.
func Schema() []byte {
	m := schemaMaker{comments(keys)}
	s := m.of(reflect.TypeFor[document](), "")
	s.Schema = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "An experiment of trivet"
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // Made of our own types alone.
	}
	return append(text, '\n')
}

// comments are the doc comments in the text of a Go file: of types by name, of fields by type.field.
func comments(text string) map[string]string {
	parsed, err := parser.ParseFile(token.NewFileSet(), "keys.go", text, parser.ParseComments)
	if err != nil {
		panic(err) // This package has been compiled of it.
	}
	all := map[string]string{}
	for _, d := range parsed.Decls {
		general, ok := d.(*ast.GenDecl)
		if !ok || general.Tok != token.TYPE {
			continue
		}
		spec := general.Specs[0].(*ast.TypeSpec)
		all[spec.Name.Name] = oneLine(general.Doc)
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range s.Fields.List {
				for _, name := range field.Names {
					all[spec.Name.Name+"."+name.Name] = oneLine(field.Doc)
				}
			}
		}
	}
	return all
}

func oneLine(comment *ast.CommentGroup) string {
	return strings.Join(strings.Fields(comment.Text()), " ")
}

// A schemaMaker makes schemas of the types in keys.go.
type schemaMaker struct{ comments map[string]string }

const instancePattern = `^(all|whoami-[1-9][0-9]?)$`

// of is the schema of a type, whose field has the tag.
func (m schemaMaker) of(t reflect.Type, tag reflect.StructTag) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: durations.String()}
	case reflect.TypeFor[rateKeys]():
		return m.rate()
	case reflect.TypeFor[targets]():
		one := &jsonschema.Schema{Type: "string", Pattern: instancePattern}
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{one, {Type: "array", Items: one, MinItems: new(1), MaxItems: new(60)}}}
	case reflect.TypeFor[ordered[variantKeys]]():
		return &jsonschema.Schema{
			Type: "object", PropertyNames: name(Only, load.HTTP, load.GRPC), AdditionalProperties: m.of(reflect.TypeFor[variantKeys](), ""),
			MinProperties: new(1), MaxProperties: new(20),
		}
	}
	switch t.Kind() {
	case reflect.Struct:
		return m.structure(t)
	case reflect.Slice:
		least, most := limits(tag)
		return &jsonschema.Schema{Type: "array", Items: m.item(t, tag), MinItems: new(int(least)), MaxItems: new(int(most))}
	case reflect.Bool:
		return &jsonschema.Schema{Type: "boolean"}
	case reflect.String:
		s := &jsonschema.Schema{Type: "string", Pattern: `\S`}
		if tag.Get("identifier") != "" {
			s = name(strings.Fields(tag.Get("but"))...)
		}
		for word := range strings.FieldsSeq(tag.Get("enum")) {
			s.Pattern, s.Enum = "", append(s.Enum, word)
		}
		return s
	}
	least, most := limits(tag)
	s := &jsonschema.Schema{Type: "integer", Minimum: new(float64(least))}
	if most != anyNumber {
		s.Maximum = new(float64(most))
	}
	return s
}

// item is the schema of a list's entries.
func (m schemaMaker) item(list reflect.Type, tag reflect.StructTag) *jsonschema.Schema {
	s := m.of(list.Elem(), "")
	if text := tag.Get("longest"); text != "" {
		s.MaxLength = new(int(quantity(text)))
	}
	return s
}

// name is the schema of names that the file chooses; some more are taken.
func name(taken ...string) *jsonschema.Schema {
	var words []any
	for _, word := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(keywords, builtin.Names, lawNames(), taken)))) {
		words = append(words, word)
	}
	return &jsonschema.Schema{Type: "string", Pattern: identifiers.String(), Not: &jsonschema.Schema{Enum: words}}
}

// together is what the keys of a load mean for each other.
func together() []*jsonschema.Schema {
	never := func() *jsonschema.Schema { return &jsonschema.Schema{Not: &jsonschema.Schema{}} }
	is := func(key, value string) *jsonschema.Schema {
		return &jsonschema.Schema{Required: []string{key}, Properties: map[string]*jsonschema.Schema{key: {Enum: []any{value}}}}
	}
	return []*jsonschema.Schema{
		{If: is("protocol", load.HTTP), Then: &jsonschema.Schema{Properties: map[string]*jsonschema.Schema{"channels": never(), "call": {Enum: []any{load.Unary}}}}},
		{If: is("protocol", load.GRPC), Then: &jsonschema.Schema{Properties: map[string]*jsonschema.Schema{"connections": never()}}},
		{If: is("call", load.Watch), Then: &jsonschema.Schema{Required: []string{"hold"}}, Else: &jsonschema.Schema{Properties: map[string]*jsonschema.Schema{"hold": never()}}},
	}
}

func (m schemaMaker) structure(t reflect.Type) *jsonschema.Schema {
	s := &jsonschema.Schema{
		Type: "object", Description: m.comments[t.Name()],
		Properties: map[string]*jsonschema.Schema{}, AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}},
	}
	for field := range t.Fields() {
		key := field.Tag.Get("yaml")
		p := m.of(field.Type, field.Tag)
		p.Description = m.comments[t.Name()+"."+field.Name]
		if field.Type == reflect.TypeFor[rateKeys]() || field.Type == reflect.TypeFor[targets]() {
			p.Description += " " + m.comments[field.Type.Name()] // How it is written.
		}
		if field.Type == reflect.TypeFor[time.Duration]() && field.Tag.Get("least") != "" {
			p.Description += fmt.Sprintf(" From %s to %s.", field.Tag.Get("least"), field.Tag.Get("most"))
		}
		if text := field.Tag.Get("default"); text != "" {
			p.Default = json.RawMessage(text)
			if p.Type == "string" {
				p.Default = json.RawMessage(fmt.Sprintf("%q", text))
			}
		}
		if field.Tag.Get("need") != "" {
			s.Required = append(s.Required, key)
		}
		s.Properties[key] = p
		s.PropertyOrder = append(s.PropertyOrder, key)
	}
	switch t {
	case reflect.TypeFor[actionKeys]():
		s.MinProperties, s.MaxProperties = new(1), new(1)
	case reflect.TypeFor[loadKeys]():
		s.AllOf = together()
	case reflect.TypeFor[setKeys]():
		s.MinProperties, s.MaxProperties = new(2), new(2)
	}
	return s
}

func (m schemaMaker) rate() *jsonschema.Schema {
	one := &jsonschema.Schema{Type: "string", Pattern: rateSyntax}
	s := &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string", Pattern: rateSyntax, Not: &jsonschema.Schema{Pattern: noRateSyntax}}}}
	for field := range reflect.TypeFor[rateShapes]().Fields() {
		least, most := limits(field.Tag)
		key := field.Tag.Get("yaml")
		s.OneOf = append(s.OneOf, &jsonschema.Schema{
			Type: "object", Required: []string{key}, AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}},
			Properties: map[string]*jsonschema.Schema{key: {Type: "array", Items: one, MinItems: new(int(least)), MaxItems: new(int(most))}},
		})
	}
	return s
}
