package draft

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"trivet/internal/words"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// YAML writes an experiment's file that does the history again, from the last start of load on: with the same load, and each action at its
// time. What the file does otherwise, a comment in it says. It is an error if no load was sent.
//
// name is the file's, without its extension; question is what the experiment asks, "" for a general one.
//
//   - Phases are split where the load or the configuration changed, and so that one ends before the first action and one begins after the last.
//   - A scenario has one configuration of nginx. If there were several, each is a variant, with all of the load and all of the actions.
//   - Processes that were down or paused when the load began are so at the start: a phase without load does that.
//   - Times without any change are shortened, the oldest changes are left out if there were too many, and load goes on for some seconds after the
//     last action.
//   - Expectations are those that any good configuration meets. How many requests may fail meanwhile is not known here.
func (h History) YAML(name, question string) ([]byte, error) {
	p, err := h.plan()
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(question) == "" {
		question = p.question()
	}
	file := mapping(false, "question", text(words.Printable(question)))
	variants := p.variants()
	answer := text(p.answer(variants))
	answer.Style = yaml.FoldedStyle
	add(file, "answer", answer)
	if fleet := p.fleet(); len(fleet.Content) > 0 {
		add(file, "fleet", fleet)
	}
	if len(variants) == 1 && len(variants[0].Edits) > 0 {
		add(file, "nginx", edits(variants[0]))
	}
	add(file, "load", p.loadNodes())
	add(file, "phases", p.phaseNodes())
	add(file, "expect", p.expect(variants))
	if len(variants) > 1 {
		add(file, "variants", variantNodes(variants))
		key(file, "variants").HeadComment = "nginx's configuration was changed meanwhile, and a scenario has one: so each is a variant, with all of the load and all of the actions."
	}
	body, err := yaml.Dump(file, yaml.WithIndent(2), yaml.WithCompactSeqIndent(false), yaml.WithLineWidth(lineWidth))
	if err != nil {
		return nil, fmt.Errorf("write experiment: %w", err)
	}
	return slices.Concat([]byte(p.head(name)), bytes.TrimRight(body, "\n"), []byte("\n")), nil
}

// lineWidth is that of lines that can be broken.
const lineWidth = 140

// head is the comment on top.
func (p *plan) head(name string) string {
	var b strings.Builder
	b.WriteString("# yaml-language-server: $schema=schema.json\n#\n")
	b.WriteString("# Saved from a running fleet: what was done to it, from the last start of load on.\n#\n")
	file := unsafe.ReplaceAllString(name, "-") + ".yaml"
	for _, line := range [][2]string{
		{"trivet run " + file, "do it again, on a fleet of its own: " + p.takes()},
		{"trivet check " + file, "find errors after a change"},
		{"trivet schema > schema.json", "let editors complete and explain keys, by the first line"},
	} {
		fmt.Fprintf(&b, "#     %-*s  %s\n", max(27, len(file)+13), line[0], line[1])
	}
	if len(p.notes) > 0 {
		b.WriteString("#\n# What is not as it was:\n")
		for _, note := range p.notes {
			b.WriteString("# - " + words.Printable(note) + "\n")
		}
	}
	return b.String()
}

// takes is for how long the file's trials send load.
func (p *plan) takes() string {
	length := short(p.phases[len(p.phases)-1].to.Round(time.Second))
	if n := len(p.configurations()); n > 1 {
		return fmt.Sprintf("%d variants, %s each", n, length)
	}
	return length
}

// unsafe is what neither a comment nor a command line should have.
var unsafe = regexp.MustCompile(`[^A-Za-z0-9._/-]+`)

func (p *plan) question() string {
	in := ""
	if len(p.configurations()) > 1 {
		in = " in each configuration"
	}
	if len(p.Actions) == 0 {
		return "Does nginx serve this load without a failure" + p.meanwhile() + in + "?"
	}
	var did []string
	for _, a := range p.Actions {
		did = append(did, a.name())
	}
	return "What do clients see" + in + " of this: " + list(did) + "?"
}

// meanwhile is what was down or paused at the start.
func (p *plan) meanwhile() string {
	states := map[string][]string{}
	for _, a := range p.prepared.prepare() {
		states[a.Kind] = append(states[a.Kind], a.Process)
	}
	var all []string
	for _, s := range []struct{ kind, state string }{{scenario.Kill, "down"}, {scenario.Pause, "paused"}} {
		if names := states[s.kind]; len(names) == 1 {
			all = append(all, names[0]+" is "+s.state)
		} else if len(names) > 1 {
			all = append(all, list(names)+" are "+s.state)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return " while " + strings.Join(all, " and ")
}

// answer says how many requests failed, of each protocol and variant.
func (p *plan) answer(variants []variant) string {
	var all []string
	for _, v := range variants {
		in := ""
		if len(variants) > 1 {
			in = v.name + "."
		}
		var counts []string
		for _, group := range p.groups() {
			noun := "HTTP requests"
			if group == scenario.GRPC {
				noun = "gRPC calls"
			}
			counts = append(counts, fmt.Sprintf("{%stotal.%s.failed} of {%stotal.%s.requests} %s", in, group, in, group, noun))
		}
		sentence := strings.Join(counts, " and ") + " failed"
		if in != "" {
			sentence = "In " + v.name + ": " + sentence
		}
		all = append(all, sentence)
	}
	return strings.Join(all, ". ") + "."
}

// groups are the protocols that have load.
func (p *plan) groups() (all []string) {
	for _, protocol := range []string{scenario.HTTP, scenario.GRPC} {
		if slices.ContainsFunc(p.loads, func(l load) bool { return l.protocol == protocol }) {
			all = append(all, protocol)
		}
	}
	return all
}

// fleet has what is not as in any experiment.
func (p *plan) fleet() *yaml.Node {
	m := mapping(true)
	if p.Instances != 3 {
		add(m, "instances", number(p.Instances))
	}
	if p.Front > 0 {
		add(m, "front", number(p.Front))
	}
	if p.Workers > 0 {
		add(m, "workers", number(p.Workers))
	}
	if p.MTLS {
		add(m, "mtls", yes())
	}
	return m
}

func (p *plan) loadNodes() *yaml.Node {
	list := sequence()
	for _, l := range p.loads {
		m := mapping(true, "protocol", text(l.protocol))
		if l.name != "" {
			add(m, "name", text(l.name))
		}
		if l.hold > 0 {
			add(m, "call", text(scenario.Watch))
			add(m, "hold", length(l.hold))
		}
		if l.interval > 0 {
			add(m, "request", mapping(true, "message", mapping(true, "interval", text(seconds(l.interval)))))
		}
		if l.channels > 0 && l.channels != defaultChannels {
			add(m, "channels", number(l.channels))
		}
		if l.deadline > 0 {
			add(m, "deadline", length(l.deadline))
		}
		if l.retry {
			add(m, "retry", yes())
		}
		add(m, "rate", p.rateNode(l))
		if l.hold > 0 {
			m.LineComment = "rate × hold: so many streams are open at once"
		}
		list.Content = append(list.Content, m)
	}
	return list
}

// rateNode is one rate, if it is the same in all phases.
func (p *plan) rateNode(l load) *yaml.Node {
	first := p.phases[0].name
	if !slices.ContainsFunc(p.phases, func(ph phase) bool { return l.rates[ph.name] != l.rates[first] }) {
		return text(perSecond(l.rates[first]))
	}
	m := mapping(true)
	for _, ph := range p.phases {
		if l.rates[ph.name] > 0 {
			add(m, ph.name, text(perSecond(l.rates[ph.name])))
		}
	}
	return mapping(true, "phases", m)
}

// perSecond is a rate to a thousandth, but never 0.
func perSecond(rate float64) string {
	return strconv.FormatFloat(max(math.Round(rate*1000)/1000, 0.001), 'f', -1, 64) + "/s"
}

func (p *plan) phaseNodes() *yaml.Node {
	list, said := sequence(), false
	for _, ph := range p.phases {
		do := doNodes(ph)
		for _, n := range do {
			if n.HeadComment != "" && said {
				n.HeadComment = "" // Once is enough.
			}
			said = said || n.HeadComment != ""
		}
		oneLine := len(do) <= 4 && !slices.ContainsFunc(do, func(n *yaml.Node) bool { return n.Style != yaml.FlowStyle })
		m := mapping(oneLine, "name", text(ph.name), "for", length(ph.to-ph.from))
		if ph.kind == prepare {
			m.HeadComment = "Without load: what was down or paused when the load began."
		}
		if len(do) > 0 {
			add(m, "do", &yaml.Node{Kind: yaml.SequenceNode, Content: do})
		}
		list.Content = append(list.Content, m)
	}
	return list
}

// doNodes are what a phase does. A wait counts from the end of the action before it, or from the start of the phase.
func doNodes(ph phase) (all []*yaml.Node) {
	at := ph.from
	wait := func(d time.Duration) []*yaml.Node {
		if d < resolution {
			return nil
		}
		return []*yaml.Node{mapping(true, scenario.Wait, length(d))}
	}
	for _, c := range ph.do {
		if ph.kind != prepare {
			all = append(all, wait(c.from-at)...)
		}
		at = c.to
		processes := c.processes()
		if ph.kind == prepare || len(processes) == 1 && len(c.actions) == 1 {
			for _, a := range c.actions {
				all = append(all, mapping(true, a.Kind, text(a.Process)))
			}
			continue
		}
		together := sequence()
		for _, actions := range processes {
			if len(actions) == 1 && actions[0].At == c.from {
				together.Content = append(together.Content, mapping(true, actions[0].Kind, text(actions[0].Process)))
				continue
			}
			list, done := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}, c.from
			for _, a := range actions {
				list.Content = append(list.Content, wait(a.At-done)...)
				list.Content = append(list.Content, mapping(true, a.Kind, text(a.Process)))
				done = a.Until
			}
			once := mapping(true, "times", number(1), "every", text("1ms"), "do", list)
			together.Content = append(together.Content, mapping(true, scenario.Repeat, once))
		}
		m := mapping(false, scenario.Together, together)
		m.HeadComment = "These overlap. A repeat that is done once is a list: its waits and actions follow each other."
		all = append(all, m)
	}
	return all
}

// edits are those of a configuration.
func edits(v variant) *yaml.Node {
	list := sequence()
	for _, e := range v.Edits {
		m := mapping(true, "context", text(e.Context))
		for _, field := range []struct{ key, value string }{{"directive", e.Directive}, {"add", e.Add}, {"parameter", e.Parameter}, {"remove", e.Remove}} {
			if field.value != "" {
				add(m, field.key, text(field.value))
			}
		}
		list.Content = append(list.Content, m)
	}
	m := mapping(false, "edits", list)
	if len(v.Edits) == 0 {
		return mapping(true)
	}
	m.HeadComment = words.Printable(v.description())
	return m
}

// A variant is a configuration with a name.
type variant struct {
	name string
	Segment
}

func (v variant) description() string {
	if len(v.Edits) == 0 {
		return "as shipped"
	}
	if len(v.Settings) == 0 {
		return words.Count(len(v.Edits), "edit") + " of the shipped configuration"
	}
	return strings.Join(v.Settings, ", ")
}

// variants are the configurations; only one if they never changed.
func (p *plan) variants() (all []variant) {
	taken := map[string]bool{}
	for i, s := range p.configurations() {
		v := variant{"shipped", s}
		if len(s.Edits) > 0 {
			v.name = "with_" + strings.Trim(notName.ReplaceAllString(strings.ToLower(strings.Join(s.Settings, " ")), "_"), "_")
			if v.name == "with_" || len(v.name) > 40 || taken[v.name] {
				v.name = fmt.Sprintf("configuration_%d", i+1)
			}
		}
		taken[v.name] = true
		all = append(all, v)
	}
	return all
}

// notName is what no name of an experiment has.
var notName = regexp.MustCompile(`[^a-z0-9]+`)

func variantNodes(variants []variant) *yaml.Node {
	all := mapping(false)
	for _, v := range variants {
		m := mapping(false, "description", text(words.Printable(v.description())))
		if len(v.Edits) > 0 {
			add(m, "nginx", edits(v))
		}
		add(all, v.name, m)
	}
	return all
}

// isKeepalive reports whether an edit is about connections alone, and not about which instance is chosen.
func isKeepalive(e confedit.Edit) bool {
	return strings.HasPrefix(e.Directive, "keepalive") || strings.HasPrefix(e.Remove, "keepalive")
}
