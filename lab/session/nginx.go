package session

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"trivet/lab/feed"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// A Setting is what can be chosen of nginx's configuration.
type Setting struct {
	Name    string   `json:"name"`
	Label   string   `json:"label"`
	Value   string   `json:"value"` // of the option that is set
	Options []Option `json:"options"`
}

// An Option is one value of a Setting.
type Option struct {
	Value     string `json:"value"`
	Label     string `json:"label"`
	Directive string `json:"directive"` // in nginx's words; "": as shipped
	edits     func(upstream string) []confedit.Edit
}

// upstreams are those that settings are for: whoami's.
var upstreams = []string{"upstream whoami_http", "upstream whoami_grpc"}

// method is an option that sets a balancing method. It stands above keepalive, because Apply adds a directive at the start of a block.
func method(value, label, directive string) Option {
	return Option{value, label, directive + ";", func(upstream string) []confedit.Edit {
		return []confedit.Edit{{Context: upstream, Directive: directive}}
	}}
}

// counting is an option that sets parameters of all servers.
func counting(value, label string, parameters ...string) Option {
	return Option{value, label, strings.Join(parameters, " "), func(upstream string) (edits []confedit.Edit) {
		for _, p := range parameters {
			edits = append(edits, confedit.Edit{Context: upstream + " server", Parameter: p})
		}
		return edits
	}}
}

// shipped is the option that changes nothing.
func shipped(value, label string) Option {
	return Option{value, label, "", func(string) []confedit.Edit { return nil }}
}

// settings are all. Their values come from these lists alone; whether nginx takes them, nginx says.
func settings() []Setting {
	all := []Setting{
		{Name: "balancing", Label: "balancing method", Options: []Option{
			shipped("round_robin", "round robin"),
			method("least_conn", "least connections", "least_conn"),
			method("hash_client", "hash of the client's address", "hash $remote_addr consistent"),
			method("hash_request", "hash of the request ID", "hash $id consistent"),
			method("random_two", "random, the better of two", "random two least_conn"),
		}},
		{Name: "failures", Label: "failure counting", Options: []Option{
			shipped("never", "never eject"),
			counting("default", "after 1 failure, for 10 s", "max_fails=1", "fail_timeout=10s"),
			counting("three", "after 3 failures, for 5 s", "max_fails=3", "fail_timeout=5s"),
		}},
		{Name: "keepalive", Label: "idle connections", Options: []Option{
			shipped("shipped", "as shipped"),
			{"off", "none: a connection per request", "keepalive_requests 1;", func(upstream string) []confedit.Edit {
				return []confedit.Edit{{Context: upstream, Directive: "keepalive_requests 1"}} // From 1.29.7 on, nginx keeps some without keepalive.
			}},
			{"small", "4 per worker", "keepalive 4;", func(upstream string) []confedit.Edit {
				return []confedit.Edit{{Context: upstream, Directive: "keepalive 4"}}
			}},
		}},
	}
	for i := range all {
		all[i].Value = all[i].Options[0].Value
	}
	return all
}

// option is the one that is set.
func (s Setting) option() Option {
	return s.Options[slices.IndexFunc(s.Options, func(o Option) bool { return o.Value == s.Value })]
}

// editsOf are the edits of all settings, and these in words; none of what is as shipped.
func editsOf(all []Setting) (edits []confedit.Edit, inWords []string) {
	for _, s := range all {
		o := s.option()
		for _, u := range upstreams {
			edits = append(edits, o.edits(u)...)
		}
		if o.Directive != "" {
			inWords = append(inWords, s.Label+": "+o.Label)
		}
	}
	return edits, inWords
}

// choose is a copy of the settings with other values. The error names each that there is not.
func choose(all []Setting, values map[string]string) ([]Setting, error) {
	chosen := slices.Clone(all)
	var names, problems []string
	for i, s := range all {
		names = append(names, s.Name)
		value, given := values[s.Name]
		if !given {
			continue
		}
		var options []string
		for _, o := range s.Options {
			options = append(options, o.Value)
		}
		if !slices.Contains(options, value) {
			problems = append(problems, fmt.Sprintf("%s is %q: want one of %s", s.Name, value, strings.Join(options, ", ")))
			continue
		}
		chosen[i].Value = value
	}
	for name := range values {
		if !slices.Contains(names, name) {
			problems = append(problems, fmt.Sprintf("there is no setting %q: want %s", name, strings.Join(names, ", ")))
		}
	}
	if len(problems) > 0 {
		slices.Sort(problems)
		return nil, wrong("%s", strings.Join(problems, "; "))
	}
	return chosen, nil
}

// SetNginx sets settings by name. nginx tests the configuration before it is used: what it refuses changes nothing, and the Error has its
// own lines.
func (s *Session) SetNginx(ctx context.Context, values map[string]string) error {
	s.setting.Lock()
	defer s.setting.Unlock()
	s.mu.Lock()
	before := s.settings
	s.mu.Unlock()
	after, err := choose(before, values)
	if err != nil {
		return err
	}
	edits, inWords := editsOf(after)
	if old, _ := editsOf(before); slices.Equal(old, edits) {
		return nil
	}
	done, err := s.begin(scenario.Reload, scenario.Nginx)
	if err != nil {
		return err
	}
	// A page that is closed must not leave half of a change.
	err = s.options.Fleet.Reconfigure(context.WithoutCancel(ctx), edits)
	done(err)
	refused := refusal(err, s.options.Message)
	if err != nil && refused == nil {
		return fmt.Errorf("set nginx: %w", err)
	}
	s.mu.Lock()
	defer s.changed()
	defer s.mu.Unlock()
	if refused != nil {
		s.refused = refused.Detail
		return refused
	}
	s.refused, s.settings = "", after
	s.history.configure(s.now(), edits, inWords)
	for i, chosen := range after {
		if chosen.Value != before[i].Value {
			s.say(feed.Event{Kind: "setting", Tone: feed.Action, Process: scenario.Nginx, Text: "nginx: " + chosen.Label + " is now " + chosen.option().Label})
		}
	}
	return nil
}
