package draft

import (
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// text is a string, in quotes if YAML needs them.
func text(value string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(value)
	return n
}

// length is a duration.
func length(d time.Duration) *yaml.Node { return text(short(d)) }

// short is a duration as experiments write it: 1m, not 1m0s.
func short(d time.Duration) string {
	said := d.String()
	if strings.HasSuffix(said, "m0s") {
		said = strings.TrimSuffix(said, "0s")
	}
	return said
}

// seconds is a duration in protobuf's JSON.
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}

func number(n int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(n)}
}

func yes() *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"} }

func sequence() *yaml.Node { return &yaml.Node{Kind: yaml.SequenceNode} }

// mapping is one of keys and nodes in turn, on one line or not.
func mapping(flow bool, pairs ...any) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode}
	if flow {
		m.Style = yaml.FlowStyle
	}
	for i := 0; i < len(pairs); i += 2 {
		add(m, pairs[i].(string), pairs[i+1].(*yaml.Node))
	}
	return m
}

func add(m *yaml.Node, key string, value *yaml.Node) {
	m.Content = append(m.Content, text(key), value)
}

// key is the node of a mapping's key.
func key(m *yaml.Node, name string) *yaml.Node {
	for i := 0; i < len(m.Content); i += 2 {
		if m.Content[i].Value == name {
			return m.Content[i]
		}
	}
	return nil
}
