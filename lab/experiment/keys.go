package experiment

import "time"

// The types of this file are the reference of what an experiment's file can say: their comments are the descriptions in [Schema],
// their tags its defaults and limits, and the decoder reads by the same tags. A comment speaks to who writes such a file.

// One experiment: a question, a load, what is done to the fleet meanwhile, and what must hold.
type document struct {
	// What the experiment asks, in one sentence.
	Question string `yaml:"question" need:"true"`
	// How to say what was measured: a sentence with expressions in braces, "{during.http.failed} requests failed". They are written like
	// expectations, and may have any value.
	Answer string `yaml:"answer"`
	// Stands in every request's id, so that the same seed makes the same ids.
	Seed uint64 `yaml:"seed" default:"1"`
	// The processes.
	Fleet fleetKeys `yaml:"fleet"`
	// The balancer's configuration: the shipped files, and changes to them.
	Nginx nginxKeys `yaml:"nginx"`
	// The callers, all at the same time.
	Load []loadKeys `yaml:"load" need:"true" least:"1" most:"16"`
	// The parts of the time, one after the other.
	Phases []phaseKeys `yaml:"phases" need:"true" least:"1" most:"20"`
	// What must hold, a condition each: during.http.failed == 0. Names are those of phases (or run, the whole time), then http, grpc or a
	// load's name, then a figure. A condition is asked of every variant, unless it begins its names with variants:
	// plain.during.grpc.failed > with_retry.during.grpc.failed. Durations compare with duration("250ms"). The laws of fair shares are
	// fair(during.http), fair_without_zone(during.http) and binomial(during.http, "whoami-1", 0.33). One with ": " or " #" in it wants quotes.
	Expect []string `yaml:"expect" need:"true" least:"1" most:"100" longest:"1000"`
	// The same under other settings, by name. What a variant says stands in the place of what the file says under that key.
	Variants ordered[variantKeys] `yaml:"variants" most:"20"`
}

// The processes.
type fleetKeys struct {
	// How many instances of whoami: whoami-1, whoami-2 and so on.
	Instances int `yaml:"instances" least:"1" most:"60" default:"3"`
	// How many worker processes nginx has.
	Workers int `yaml:"workers" least:"1" most:"16" default:"2"`
}

// The balancer's configuration.
type nginxKeys struct {
	// Changes to the shipped files, one after the other; each must mean one place.
	Set []setKeys `yaml:"set" most:"100"`
}

// One change to the shipped files: context, and one of directive, parameter and remove.
type setKeys struct {
	// Where: the names of blocks, the innermost last, as many as it takes to mean one: "upstream whoami_http", "http-listener.conf server location /";
	// "main" is what stands in no block. For a parameter the last word is a directive: "upstream whoami_grpc server".
	Context string `yaml:"context" need:"true"`
	// One directive or a whole block, "keepalive 4": takes the place of the one it names, or is added.
	Directive string `yaml:"directive"`
	// One parameter, "max_fails=1", for all directives that the context names: takes the place of the one of that name, or is added.
	Parameter string `yaml:"parameter"`
	// A directive, "zone", with as many of its first arguments as it takes to mean one; or, where the context ends in a directive, a
	// parameter: "max_fails".
	Remove string `yaml:"remove"`
}

// Callers of one kind, calling at a rate whatever becomes of their calls.
type loadKeys struct {
	// What they speak.
	Protocol string `yaml:"protocol" need:"true" enum:"http grpc"`
	// What expectations call these callers; without it they are called like their protocol. http and grpc alone always mean all callers of that
	// protocol.
	Name string `yaml:"name" identifier:"true"`
	// unary asks and gets an answer (over HTTP: GET /). watch holds a stream open for a while, silent one on which nobody ever speaks, until
	// its deadline: gRPC alone.
	Call string `yaml:"call" enum:"unary watch silent" default:"unary"`
	// How many calls are begun in a second.
	Rate rateKeys `yaml:"rate" need:"true"`
	// HTTP: at most so many connections at once; 0 is as many as it takes.
	Connections int `yaml:"connections" least:"0" most:"10000" default:"0"`
	// gRPC: so many channels, which are used in turn.
	Channels int `yaml:"channels" least:"1" most:"1000" default:"4"`
	// How long a caller waits for the end of a call, from its start.
	Deadline time.Duration `yaml:"deadline" least:"1ms" most:"60s" default:"5s"`
	// watch: after so long the caller hangs up; less than the deadline.
	Hold time.Duration `yaml:"hold" least:"1ms" most:"60s"`
	// gRPC: whether calls are retried as the shipped service config says. HTTP: whether a GET may silently be sent again when its kept-alive
	// connection was being closed.
	Retry bool `yaml:"retry" default:"false"`
}

// A part of the time.
type phaseKeys struct {
	// What expectations call it.
	Name string `yaml:"name" need:"true" identifier:"true" but:"http grpc"`
	// How long it lasts.
	For time.Duration `yaml:"for" need:"true" least:"100ms" most:"10m"`
	// What is done, one after the other, from the phase's beginning on.
	Do []actionKeys `yaml:"do" most:"100"`
}

// One thing that is done: exactly one key.
type actionKeys struct {
	// SIGKILL: an instance is gone without a warning, until start.
	Kill targets `yaml:"kill"`
	// SIGTERM: an instance ends what it has, and is gone, until start.
	Drain targets `yaml:"drain"`
	// SIGSTOP: an instance hangs, until cont.
	Stop targets `yaml:"stop"`
	// SIGCONT: ends stop.
	Cont targets `yaml:"cont"`
	// An instance that was killed or drained comes back.
	Start targets `yaml:"start"`
	// drain, then start.
	Restart targets `yaml:"restart"`
	// SIGHUP to nginx: it reads its configuration again.
	Reload string `yaml:"reload" enum:"nginx"`
	// Nothing, for so long; all waits of a phase together are shorter than the phase.
	Wait time.Duration `yaml:"wait" least:"1ms" most:"10m"`
}

// The experiment under one setting. Whatever is given stands in the place of the file's own key of that name.
type variantKeys struct {
	// Why it is there, in a few words.
	About string `yaml:"about"`
	// The processes.
	Fleet fleetKeys `yaml:"fleet"`
	// The balancer's configuration.
	Nginx nginxKeys `yaml:"nginx"`
	// The callers.
	Load []loadKeys `yaml:"load" least:"1" most:"16"`
}

// ordered is a mapping of names that the file chooses, in the file's order.
type ordered[T any] []entry[T]

type entry[T any] struct {
	Name  string
	Value T
}

// An instance, "whoami-2", a list of instances, or "all".
type targets []string

// "300/s" or "30/m" all the time; {ramp: [100/s, 500/s]}, evenly from one to the other over the whole time; or {step: [100/s, 300/s, 500/s]}, each
// for an equal part of the time. Up to 100000/s.
type rateKeys struct {
	Rate Rate
}
