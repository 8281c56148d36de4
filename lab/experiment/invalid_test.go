package experiment

import "strings"

// invalidFiles are files with all their diagnostics. Where new is given, the file is small with new in the place of old.
var invalidFiles = []struct {
	name, text, old, new string
	want                 []string
}{
	{name: "empty", text: "", want: []string{"1:1: the file is empty: want an experiment, with question, load, phases and expect"}},
	{name: "comments alone", text: "# nothing\n", want: []string{"1:1: the file is empty: want an experiment, with question, load, phases and expect"}},
	{name: "list", text: "- a\n", want: []string{"1:1: the file is a list: want a mapping, with answer, expect, fleet, load, nginx, phases, question, seed, target, trials, variants"}},
	{name: "two documents", text: small + "---\na: 1\n", want: []string{"10:1: a second document begins here: want one experiment per file"}},
	{name: "tab", text: "question: Q?\nload:\n\t- {protocol: http}\n", want: []string{"3:1: a tab: YAML wants spaces before a line's text"}},
	{name: "invalid YAML", text: "question: [a\nload: {\n", want: []string{"2:5: not YAML: did not find expected ',' or ']'"}},
	{name: "nothing required", text: "seed: 1\n", want: []string{"1:1: question is missing", "1:1: load is missing", "1:1: phases is missing", "1:1: expect is missing"}},
	{name: "many at once", text: `quesion: Q?
seed: -1
fleet: {instances: 99, workers: two, cores: 1}
load: {protocol: http}
phases: []
expect:
  - a: b
  - 3
`, want: []string{
		"1:1: question is missing",
		"1:1: unknown key quesion: did you mean question?",
		"2:7: seed is -1: want a whole number, 0 to 18446744073709551615",
		"3:20: instances is 99: want a whole number, 1 to 60",
		`3:33: workers is "two": want a whole number, 1 to 16`,
		"3:38: unknown key cores: want front, instances, mtls, pre_stop, through, tls, tls_min, workers",
		"4:7: load is a mapping: want a list",
		"5:9: phases has 0 entries: want 1 to 20",
		`7:5: expect[0] is read as a key and its value: put an expectation that contains ": " or " #" in quotes`,
		"8:5: expect[1] is 3: want text; put it in quotes if it is meant so",
	}},
	{name: "alias inside its anchor", old: "question: Q?", new: "question: &a [*a]", want: []string{
		"1:11: question is a list: want text", "1:15: alias a is inside its own anchor",
	}},
	{name: "aliases of aliases", old: "question: Q?", new: "seed: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\nfleet: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n" +
		"nginx: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nvariants: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\nanswer: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nquestion: [*e, *e, *e, *e, *e]", want: []string{
		"1:26: the values of this file, one for each alias, take more than 64 MiB up to here",
	}},
	{name: "deep", text: "question: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000), want: []string{
		"1:8099: the values of this file, one for each alias, take more than 64 MiB up to here",
	}},
	{name: "long key", text: strings.Repeat("k", 100_000) + ": [" + strings.Repeat("1,", 10_000) + "]", want: []string{
		"1:101340: the values of this file, one for each alias, take more than 64 MiB up to here",
	}},
	{name: "floats and other spellings", old: "question: Q?", new: `question: Q?
seed: 9007199254740993.0
fleet: {instances: 3., workers: 010}
variants:
  a: {fleet: {instances: 1e1, workers: !!float 3}}
  b: {fleet: {instances: !!int 3.0}}
  c: {load: [{protocol: http, rate: 1/s, retry: !!bool yes}]}`, want: []string{
		"2:7: seed is 9007199254740993.0: want a whole number, 0 to 18446744073709551615",
		"3:20: instances is 3.: want a whole number, 1 to 60",
		"3:33: workers is 010: want a whole number, 1 to 16",
		"5:26: instances is 1e1: want a whole number, 1 to 60",
		"5:40: workers is 3: want a whole number, 1 to 16",
		"6:26: instances is 3.0: want a whole number, 1 to 60",
		"7:49: retry is yes: want true or false",
	}},
	{name: "hops", text: `question: Q?
load:
  - {protocol: grpc, rate: 10/s, hops: [grpc, "http*2"]}
  - {protocol: grpc, name: a, rate: 10/s, hops: ["grpc:front+1ms"], request: {message: {work: 0.01s}}}
  - {protocol: grpc, name: b, rate: 10/s, request: {message: {hops: [grpc]}}}
  - {protocol: http, name: c, rate: 10/s, request: {path: "/?hops=grpc"}, hops: []}
  - {protocol: http, name: d_hop1, rate: 10/s, hops: [grpc, grpc, grpc, grpc, grpc, grpc, grpc, grpc, grpc]}
  - {protocol: grpc, name: e, call: idle, rate: 10/s, hops: [grpc]}
  - {protocol: grpc, name: f, rate: 10/s, hops: ["grpc,grpc,grpc,grpc,grpc,grpc,grpc,grpc", "grpc,grpc,grpc,grpc,grpc,grpc,grpc,grpc"]}
phases:
  - {name: during, for: 1s}
expect:
  - during.a.failed == 0
`, want: []string{
		`3:40: hops: invalid hop "http*2": calls over HTTP are not retried, leave out *2`,
		"4:49: hops call front, and there is no instance of it: add fleet: {front: 1}",
		"5:63: message asks for hops: state them by the load's key hops, from which the ledger knows which calls to expect",
		"6:59: path asks for hops: state them by the load's key hops, from which the ledger knows which calls to expect",
		"6:81: hops has 0 entries: want 1 to 8",
		`7:28: name is "d_hop1", which means the calls that are made for requests: choose another name`,
		"7:54: hops has 9 entries: want 1 to 8",
		"8:61: hops are for call: unary",
		`9:49: hops: invalid hop "grpc,grpc,grpc,grpc,grpc,grpc,grpc,grpc": with it the request has more than 64 calls`,
	}},
	{name: "negative zero", old: "question: Q?", new: "question: Q?\nseed: -0", want: []string{"2:7: seed is -0: want a whole number, 0 to 18446744073709551615"}},
	{name: "enum of one value", old: "for: 1s}", new: "for: 1s, do: [{reload: ngin}]}", want: []string{`6:43: reload is "ngin": want nginx`}},
	{name: "unknown anchor", old: "expect:", new: "seed: 1 # *one\nfleet: {instances: 3, workers: *one}\nexpect:", want: []string{"9:32: not YAML: unknown anchor 'one' referenced"}},
	{name: "NUL", old: "question: Q?", new: "question: Q?\nanswer: é\x00", want: []string{`2:10: control character '\x00': YAML wants it as an escape, in double quotes`}},
	{name: "Latin-1", old: "question: Q?", new: "question: é und \xe4\xdf?", want: []string{"1:17: byte 0xe4 is not UTF-8, which YAML wants"}},
	{name: "invalid YAML, further down", old: "  - {name: during, for: 1s}", new: "  - {name: during, for: 1s}\n   {name: b: c}", want: []string{"8:4: not YAML: did not find expected '-' indicator"}},
	{name: "folded expectation", old: "- during.http.failed == 0", new: `- during.http.failed == 0
      and before.http.failed == 0
      and durin.http.failed == 0
  - "during.http.codes[\"200\"] == 0 and durin.http.failed == 0"
  - len("é×") == 2 and durin.http.failed == 0`, want: []string{
		"9:5: during.http.failed == 0 and before.http.failed == 0 and durin.http.failed == 0: unknown name durin: did you mean during?",
		`12:5: during.http.codes["200"] == 0 and durin.http.failed == 0: unknown name durin: did you mean during?`,
		`13:24: len("é×") == 2 and durin.http.failed == 0: unknown name durin: did you mean during?`,
	}},
	{name: "numbers", old: "question: Q?", new: "question: Q?\nseed: 0x10\nfleet: {instances: 0x3, workers: 0x11}", want: []string{"3:34: workers is 0x11: want a whole number, 1 to 16"}},
	{name: "invalid wait", old: "- {name: during, for: 1s}", new: "- {name: during, for: 5s, do: [{wait: 5s}, {wait: -1s}]}\n  - {name: after, for: 1, do: [{wait: 2s}]}", want: []string{
		"7:33: the waits and repetitions of phase during take 5s: want less than the phase, 5s",
		`7:53: wait is "-1s": want a duration with a unit, like 250ms, 2s or 1m30s, from 1ms to 10m`,
		"8:24: for is 1: want a duration with a unit, like 250ms, 2s or 1m30s, from 100ms to 10m",
	}},
	{name: "no request", old: "rate: 10/s}\n", new: "rate: 0.01/s}\n  - {name: a, protocol: http, rate: {ramp: [0/s, 0.1/m]}}\n  - {name: b, protocol: http, rate: 0.5/s}\n", want: []string{
		"3:28: load[0] plans no request in 2s: nothing could be measured",
		"4:37: load[1] plans no request in 2s: nothing could be measured",
	}},
	{name: "no rate", old: "rate: 10/s}\n", new: "deadline: 1s}\n", want: []string{"3:5: rate is missing in load[0]"}},
	{name: "variant named only", old: "question: Q?", new: "question: Q?\nvariants: {only: {}, other: {}}", want: []string{
		"2:12: variant only: the name is that of a file without variants: choose another",
	}},
	{name: "key twice", old: "question: Q?", new: "question: Q?\nseed: 1\nseed: 2", want: []string{`3:1: key "seed" is here a second time; the first is in line 2`}},
	{name: "empty value", old: "question: Q?", new: "question:", want: []string{"1:10: question is empty: want text"}},
	{name: "merge", old: "question: Q?", new: "question: Q?\nfleet: {<<: {instances: 3}}", want: []string{"2:9: << is not supported: write the keys out"}},
	{name: "tag", old: "- during.http.failed == 0", new: "- !during.http.recovery.failed", want: []string{"9:5: expect[0] begins with !during.http.recovery.failed, which YAML takes for a tag: put it in quotes"}},

	{name: "loads", old: "load:\n", new: `load:
  - {protocol: htp, rate: 300}
  - {protocol: http, rate: 0/s, name: In, channels: 3, call: watch}
  - {protocol: grpc, rate: 300/x, name: grpc_2, connections: 3, call: wach, deadline: 2}
  - {protocol: grpc, rate: {ramp: [1/s]}, name: http, call: watch}
  - {protocol: grpc, rate: {step: [0/s, 0/s], ramp: [1/s, 2/s]}, name: grpc_2, call: watch, hold: 6s, retry: maybe}
  - {rate: {slope: [1/s]}, name: last, hold: 1s}
`, want: []string{
		`3:16: protocol is "htp": want http or grpc: did you mean http?`,
		"3:27: rate is 300: want a rate above 0 like 300/s or 30/m, at most 100000/s, or one that changes: {ramp: [100/s, 500/s]}, {step: [100/s, 300/s, 500/s]}, {phases: {calm: 50/s, storm: 500/s}}",
		"4:5: hold is missing in load[1]: a watch needs the time after which its client cancels",
		`4:28: rate is "0/s": want a rate above 0 like 300/s or 30/m, at most 100000/s, or one that changes: {ramp: [100/s, 500/s]}, {step: [100/s, 300/s, 500/s]}, {phases: {calm: 50/s, storm: 500/s}}`,
		`4:39: name is "In": want a name of lower-case letters, digits and _, at most 64, that begins with a letter`,
		"4:53: channels is for grpc: HTTP clients have connections",
		`4:62: call is "watch": want unary: the others are for grpc`,
		`5:28: rate is "300/x": want a rate above 0 like 300/s or 30/m, at most 100000/s, or one that changes: {ramp: [100/s, 500/s]}, {step: [100/s, 300/s, 500/s]}, {phases: {calm: 50/s, storm: 500/s}}`,
		"5:62: connections is for http: gRPC clients have channels",
		`5:71: call is "wach": want unary or watch or idle: did you mean watch?`,
		"5:87: deadline is 2: want a duration with a unit, like 250ms, 2s or 1m30s, from 1ms to 60s",
		"6:5: hold is missing in load[3]: a watch needs the time after which its client cancels",
		"6:35: ramp has 1 entries: want 2",
		`6:49: name is "http", and the protocol is grpc: choose another name`,
		"7:28: rate has 2 keys: want a rate above 0 like 300/s or 30/m, at most 100000/s, or one that changes: {ramp: [100/s, 500/s]}, {step: [100/s, 300/s, 500/s]}, {phases: {calm: 50/s, storm: 500/s}}",
		"7:72: a second load is called grpc_2: give it a name of its own",
		"7:99: hold is 6s: want less than the deadline, 5s",
		`7:110: retry is "maybe": want true or false`,
		"8:5: protocol is missing in load[5]",
		"8:13: unknown key slope: want phases, ramp, step",
		"8:34: load last: the name means something else in expectations: choose another",
		"8:46: hold is for call: watch",
		"9:5: a second load is called http: give it a name of its own",
	}},
	{name: "rates", old: "rate: 10/s}\n", new: `rate: {step: [0/s, 0/m]}}
  - {name: two, protocol: http, rate: [1/s]}
  - {name: three, protocol: http, rate: {ramp: [1/s, -1/s]}}
  - {name: four, protocol: http, rate: {}}
  - {name: five, protocol: http, rate: 1e6/s}
  - {name: six, protocol: http, rate: NaN/s}
`, want: []string{
		"3:35: step has no rate above 0",
		"4:39: rate is a list: want a rate above 0 like 300/s or 30/m, at most 100000/s, or one that changes: {ramp: [100/s, 500/s]}, {step: [100/s, 300/s, 500/s]}, {phases: {calm: 50/s, storm: 500/s}}",
		`5:54: ramp[1] is "-1/s": want a rate like 300/s or 30/m, at most 100000/s`,
		"6:40: rate has 0 keys: want a rate above 0 like 300/s or 30/m, at most 100000/s, or one that changes: {ramp: [100/s, 500/s]}, {step: [100/s, 300/s, 500/s]}, {phases: {calm: 50/s, storm: 500/s}}",
		`7:40: rate is "1e6/s": want a rate above 0 like 300/s or 30/m, at most 100000/s, or one that changes: {ramp: [100/s, 500/s]}, {step: [100/s, 300/s, 500/s]}, {phases: {calm: 50/s, storm: 500/s}}`,
		`8:39: rate is "NaN/s": want a rate above 0 like 300/s or 30/m, at most 100000/s, or one that changes: {ramp: [100/s, 500/s]}, {step: [100/s, 300/s, 500/s]}, {phases: {calm: 50/s, storm: 500/s}}`,
	}},
	{name: "too much", old: "rate: 10/s}\n  - {protocol: grpc, rate: 10/s}", new: "rate: 100000/s}\n  - {protocol: grpc, rate: 950000/s}\n  - {protocol: grpc, name: b, rate: {ramp: [0/s, 100000/s]}, deadline: 61s}",
		want: []string{
			`4:28: rate is "950000/s": want a rate above 0 like 300/s or 30/m, at most 100000/s, or one that changes: {ramp: [100/s, 500/s]}, {step: [100/s, 300/s, 500/s]}, {phases: {calm: 50/s, storm: 500/s}}`,
			`5:72: deadline is "61s": want a duration with a unit, like 250ms, 2s or 1m30s, from 1ms to 60s`,
		}},
	{name: "too many requests", old: "for: 1s}\n  - {name: during, for: 1s}", new: "for: 10m}\n  - {name: during, for: 10m}\nseed: 2\nfleet: {}\nvariants: {a: {load: [{protocol: http, rate: 1700/s}, {protocol: grpc, rate: 1/s}]}, b: {}}",
		want: []string{"10:22: load plans 2041200 requests in 20m0s: want at most 2000000"}},
	{name: "certificates that there are not", old: "- {name: during, for: 1s}", new: `- {name: during, for: 1s, do: [{renew: all}, {renew: [nginx, edge]}, {issue_expired: whoami-1}, {add: authority}, {renew: authority}, {add: nginx}]}`, want: []string{
		"7:42: renew all: no instance has a certificate; set fleet.mtls: true",
		"7:57: renew nginx: no instance has a certificate; set fleet.mtls: true",
		"7:64: renew edge: nginx has no certificate for clients; set fleet.tls: true",
		"7:88: issue_expired whoami-1: no instance has a certificate; set fleet.mtls: true",
		"7:105: add authority: nothing has a certificate; set fleet.tls or fleet.mtls: true",
		`7:125: renew is "authority": want an instance like whoami-2, nginx, edge, a list of 1 to 60 of them, or all instances: all`,
		`7:143: add is "nginx": want authority`,
	}},
	{name: "authorities and owners of certificates", old: "- {name: during, for: 1s}", new: `- {name: during, for: 1s, do: [{add: authority}, {retire: authority}, {retire: authority}, {together: [{add: authority}, {renew: edge}]}, {renew: [whoami-4]}, {trust: all}, {trust: whoami-1}, {distrust: nginx}, {issue_no_identity: edge}]}
fleet: {tls: true, mtls: true}`, want: []string{
		"7:82: retire authority: there is one authority, and without it nothing is trusted; add another first",
		"7:112: add authority: of what happens at the same time, chance would decide which authority signs; do it before or after",
		"7:150: renew whoami-4: there are 3 instances: did you mean whoami-1?",
		"7:170: trust all: no instance distrusts",
		"7:184: trust whoami-1: instance does not distrust",
		`7:206: distrust is "nginx": want an instance like whoami-2, a list of 1 to 60 of them, or all instances: all`,
		`7:234: issue_no_identity is "edge": want nginx`,
	}},
	{name: "phases and actions", old: "- {name: during, for: 1s}", new: `- {name: during, for: 1s, do: [{kill: whoami-4}, {kil: whoami-1}, {kill: whoami-1, wait: 1s}, {}, {wait: 1s}, {reload: whoami-1}]}
  - {name: during, for: 11m}
  - {name: total, for: 1s}
  - {name: http, for: 1s, do: [{resume: whoami-1}, {start: all}, {start: whoami-3}, {pause: [whoami-2, whoami-2]}, {start: whoami-2}, {drain: whoami-2}, {resume: whoami-2}]}
  - {name: a b, for: 100, do: [{kill: []}, {drain: {}}, {pause: 3}]}`, want: []string{
		"7:33: the waits and repetitions of phase during take 1s: want less than the phase, 1s",
		"7:41: kill whoami-4: there are 3 instances: did you mean whoami-1?",
		"7:53: unknown key kil: did you mean kill?",
		"7:69: do[2] has 2 keys: want one action per entry; a list of them is done in order",
		"7:97: do[3] has 0 keys: want one action per entry; a list of them is done in order",
		`7:122: reload is "whoami-1": want nginx`,
		"8:12: phase during: the name is that of a phase in line 7: choose another",
		`8:25: for is "11m": want a duration with a unit, like 250ms, 2s or 1m30s, from 100ms to 10m`,
		"9:12: phase total: the name means something else in expectations: choose another",
		"10:12: phase http: the name means a protocol: choose another",
		"10:41: resume whoami-1: instance is not paused",
		"10:60: start all: all instances are already running",
		"10:74: start whoami-3: instance is already running",
		"10:104: pause whoami-2: this action names whoami-2 before",
		"10:124: start whoami-2: instance is paused; use resume",
		"10:163: resume whoami-2: instance is down (drain); start it first",
		`11:12: name is "a b": want a name of lower-case letters, digits and _, at most 64, that begins with a letter`,
		"11:22: for is 100: want a duration with a unit, like 250ms, 2s or 1m30s, from 100ms to 10m",
		"11:39: kill has 0 entries: want 1 to 60",
		"11:52: drain is an empty mapping: want an instance like whoami-2, nginx, a list of 1 to 60 of them, or all instances: all",
		"11:65: pause is 3: want an instance like whoami-2, nginx, nginx-worker-1, a list of 1 to 60 of them, or all instances: all",
	}},
	{name: "actions without effect", old: "  - {name: during, for: 1s}", new: `  - {name: a, for: 1s, do: [{resume: all}, {pause: whoami-1}, {pause: whoami-1}]}
  - {name: during, for: 1s, do: [{start: all}, {resume: all}, {resume: all}, {kill: all}]}
  - {name: c, for: 1s, do: [{pause: all}, {kill: whoami-1}, {drain: whoami-1}, {kill: all}, {drain: all}, {start: all}, {start: all}]}
  - {name: d, for: 1s, do: [{restart: [whoami-1, all]}, {pause: [all, whoami-2]}, {pause: all}]}`, want: []string{
		"7:38: resume all: no instance is paused",
		"7:71: pause whoami-1: instance is already paused; resume it first",
		"8:42: start all: all instances are already running",
		"8:72: resume all: no instance is paused",
		"9:37: pause all: all instances are already paused or down",
		"9:50: kill whoami-1: instance is already down (kill); start it first",
		"9:69: drain whoami-1: instance is already down (kill); start it first",
		"9:87: kill all: all instances are already down",
		"9:101: drain all: all instances are already down",
		"9:129: start all: all instances are already running",
		"10:50: restart all: this action names whoami-1 before",
		"10:71: pause whoami-2: this action names whoami-2 before",
		"10:91: pause all: all instances are already paused or down",
	}},
	{name: "variants", old: "expect:\n", new: `variants:
  plain: {}
  during: {fleet: {instances: 1}}
  sum: {description: "", seed: 2}
  Big: {load: []}
  few: {load: [{protocol: http, rate: 1/s, name: plain}]}
expect:
  - plain.during.http.failed > few.during.grpc.failed
  - plain.during.http.failed > before.http.failed
  - plain.durin.http.failed > 0
  - during.grpc.failed == 0
`, want: []string{
		"10:3: variant during: the name is that of a phase in line 7: choose another",
		"11:3: variant sum: the name means something else in expectations: choose another",
		`11:22: description is "": want text`,
		"11:26: unknown key seed: want description, fleet, load, nginx, phases",
		`12:3: "Big" in variants: want a name of lower-case letters, digits and _, at most 64, that begins with a letter`,
		"12:15: load has 0 entries: want 1 to 16",
		"13:50: load plain: the name is that of a variant in line 9: choose another",
		"15:43: plain.during.http.failed > few.during.grpc.failed: unknown load grpc in variant few: want http, plain",
		"16:32: plain.during.http.failed > before.http.failed: before is a phase and plain a variant: name a variant everywhere, or nowhere",
		"17:11: plain.durin.http.failed > 0: unknown phase durin: did you mean during?",
		"18:12: during.grpc.failed == 0: unknown load grpc in variant few: want http, plain",
	}},
	{name: "expectations of variants", old: "expect:\n", new: `variants:
  plain: {}
  few: {load: [{protocol: http, rate: 1/s}], fleet: {instances: 1}}
answer: "{plain.during.http.failed} of {during.http.requests}, {plain.during.http}, {nothing}"
expect:
  - plain.during.http.failed > few.during.grpc.failed
  - plain.during.http.failed > before.http.failed
  - plain.durin.http.failed > 0
  - during.grpc.failed == 0
  - during.http.ok_by_instance["whoami-2"] > 0
  - only.during.http.failed == 0
`, want: []string{
		"11:41: answer: during.http.requests has 2 values, one per variant: name one, like plain.during.http.requests",
		"11:65: answer: plain.during.http: plain.during.http is many metrics: name one, like plain.during.http.failed",
		"11:86: answer: nothing: unknown name nothing: want before, during, total, plain, few",
		"13:43: plain.during.http.failed > few.during.grpc.failed: unknown load grpc in variant few: want http",
		"14:32: plain.during.http.failed > before.http.failed: before is a phase and plain a variant: name a variant everywhere, or nowhere",
		"15:11: plain.durin.http.failed > 0: unknown phase durin: did you mean during?",
		"16:12: during.grpc.failed == 0: unknown load grpc in variant few: want http",
		`17:32: during.http.ok_by_instance["whoami-2"] > 0: ok_by_instance never has "whoami-2" in variant few: did you mean whoami-1?`,
		"18:5: only.during.http.failed == 0: unknown name only: want before, during, total, plain, few",
	}},
	{name: "open brace", old: "question: Q?", new: "question: Q?\nanswer: 'lost {during.http.failed'", want: []string{
		`2:9: answer: a brace is open: want expressions in braces, like "{during.http.failed} requests failed"`,
	}},
	{name: "edits", old: "load:\n", new: `nginx:
  edits:
    - {context: server, directive: keepalive 4}
    - {context: upstream whoami_http, directive: keepalive 4, remove: zone}
    - {context: upstream whoami_http}
    - {directive: keepalive 4}
    - {context: upstream whoami_grpc server, parameter: "max_fails=1;"}
    - {context: upstream whoami_http, directive: least_conn}
    - {context: "", remove: 3}
load:
`, want: []string{
		`4:17: context "server" means 3 blocks: http-listener.conf:N, grpc-listener.conf:N, admin-listener.conf:N: write one of "http-listener.conf server", "grpc-listener.conf server", "admin-listener.conf server"`,
		"5:7: edits[1]: want exactly one of directive, add, parameter and remove",
		"6:7: edits[2]: want exactly one of directive, add, parameter and remove",
		"7:7: context is missing in edits[3]",
		`8:57: parameter "max_fails=1;" is not one word: write it like max_fails=1 or backup`,
		`10:17: context is "": want text`,
		"10:29: remove is 3: want text; put it in quotes if it is meant so",
	}},
	{name: "long expectation", old: "during.http.failed == 0", new: strings.Repeat("not ", 200_000) + "true", want: []string{
		"9:5: expect[0] has 800004 characters: want at most 1000",
	}},
	{name: "deep expectation", old: "during.http.failed == 0", new: strings.Repeat("(", 1000), want: []string{
		"9:1004: (((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((…: it ends too early",
	}},
	{name: "unknown in expectations", old: "- during.http.failed == 0", new: `- durin.http.failed == 0
  - during.htp.failed == 0
  - during.http.failled == 0
  - 'fare(during.http)'
  - during.http.codes.Unavalable == 0
  - during.http.reasons["rest"] == 0
  - during.http.first_attempts["whoami-4"] == 0
  - during.http.latency.p98 < duration("1s")
  - during.http.failed == 0 and afer.http.failed == 0`, want: []string{
		"9:5: durin.http.failed == 0: unknown name durin: did you mean during?",
		"10:12: during.htp.failed == 0: unknown load htp: did you mean http?",
		"11:17: during.http.failled == 0: unknown metric failled: did you mean failed?",
		"12:6: fare(during.http): unknown function fare: did you mean fair?",
		`13:23: during.http.codes.Unavalable == 0: codes never has "Unavalable" over HTTP, where codes are numbers: want codes["200"], codes["502"]`,
		`14:25: during.http.reasons["rest"] == 0: reasons never has "rest": did you mean reset?`,
		`15:32: during.http.first_attempts["whoami-4"] == 0: first_attempts never has "whoami-4": did you mean whoami-1?`,
		`16:25: during.http.latency.p98 < duration("1s"): unknown metric p98: did you mean p90?`,
		"17:33: during.http.failed == 0 and afer.http.failed == 0: unknown name afer: want before, during, total",
	}},
	{name: "wrong types in expectations", old: "- during.http.failed == 0", new: `- during.http.failed
  - during.http.latency.p99 < 250
  - during.http.failed = 0
  - during.http.failed ==
  - "fair(during)"
  - during.http == 0`, want: []string{
		"9:5: during.http.failed: is no condition but int: compare it with something, like == 0",
		`10:29: during.http.latency.p99 < 250: invalid operation: < (mismatched types duration and int): write a duration like duration("250ms")`,
		`11:24: during.http.failed = 0: unexpected token Operator("="): equal is ==`,
		"12:25: during.http.failed ==: it ends too early",
		"13:11: fair(during): fair wants all metrics of a load: write it like fair(during.http)",
		"14:5: during.http == 0: during.http is many metrics: name one, like during.http.failed",
	}},
	{name: "requests, users and addresses", old: "load:\n", new: `load:
  - {protocol: http, name: a, rate: {phases: {befor: 10/s, during: 1/s}}, users: 2, addresses: 3, connection: newer, request: {method: get, path: x, headers: {X-Request-Id: a, "a b": c, X-A: 5, x-a: b}, body: {sise: 1}, message: {}}}
  - {protocol: grpc, name: b, rate: 10/s, users: 2, addresses: [127.0.0.1, 128.0.0.1], request: {metadata: {Big: a, grpc-x: b}, message: {interval: 1s}, padding: 1GB, path: /}}
  - {protocol: grpc, name: c, call: watch, hold: 1s, rate: 10/s, request: {message: {intervall: 1s}}, addresses: [127.0.0.1, 127.0.0.1, 127.0.0.0]}
  - {protocol: grpc, name: d, call: watch, hold: 1s, rate: 10/s, request: {message: {interval: 1.5}}}
  - {protocol: grpc, name: e, call: idle, rate: 10/s, request: {message: {}, padding: 1B}, addresses: 5}
  - {protocol: http, name: f, rate: 10/s, request: {body: 5}, addresses: 251}
  - {protocol: http, name: g, rate: 10/s, request: {body: {size: 101MB}, headers: [a]}, addresses: 2}
  - {protocol: http, name: h, rate: {phases: {}}}
  - {protocol: http, name: i, rate: {phases: {during: 0/s}}}
  - {protocol: http, name: j, rate: {phases: {during: 10}}, request: {body: {size: 0B}}}
`, want: []string{
		"3:47: rate: unknown phase befor: did you mean before?",
		"3:96: 3 addresses and users: 2: each takes one, so want at least as many: users: 3",
		`3:111: connection is "newer": want keep_alive or new: did you mean new?`,
		`3:136: method is "get": want a method in capital letters, like POST`,
		`3:147: path is "x": want a path that begins with /, of printable ASCII without spaces and #; escape others, like %20`,
		"3:160: X-Request-Id is set by the lab or the protocol: leave it out",
		`3:177: "a b" in headers: want the name of a header field, like X-Api-Key`,
		"3:192: X-A is 5: want text of printable ASCII that neither begins nor ends with a space; put numbers in quotes",
		"3:195: x-a is X-A again: letter case makes no difference",
		"3:210: size is missing in body",
		"3:211: unknown key sise: did you mean size?",
		"3:230: message is for grpc: HTTP requests have a body",
		"4:50: users is for http: gRPC clients have channels",
		`4:76: addresses[1] is "128.0.0.1": want a loopback address, from 127.0.0.1 to 127.255.255.254`,
		`4:109: "Big" in metadata: want a name of lower-case letters, digits, -, _ and dots, like x-tenant`,
		"4:117: grpc-x is set by the lab or the protocol: leave it out",
		`4:138: message is no whoami.v1.WhoAmIRequest of the contract: unknown field "interval"; want work`,
		`4:163: padding is "1GB": want a size with a unit, like 500B, 100kB or 1MiB, from 1B to 100MB`,
		"4:174: path is for http: gRPC has calls",
		`5:85: message is no whoami.v1.WatchWhoAmIRequest of the contract: unknown field "intervall"; want interval`,
		"5:126: address 127.0.0.1 is here a second time",
		"5:137: address 127.0.0.0 is that of the network or its broadcast: want one from 127.0.0.1 to 127.255.255.254",
		"6:96: message: 1.5: want text, whole numbers, true, false, lists and mappings",
		"7:74: message is not for call: idle, which sends none",
		"7:87: padding is not for call: idle, which sends no message",
		"7:103: 5 addresses and channels: 4: each takes one, so want at least as many: channels: 5",
		"8:59: body is 5: want a text, or a size like {size: 100kB}",
		"8:74: addresses is 251: want how many addresses, 1 to 250, or a list of loopback addresses, like [127.0.0.2, 127.0.1.1]",
		`9:66: size is "101MB": want a size with a unit, like 500B, 100kB or 1MiB, from 1B to 100MB`,
		"9:83: headers is a list: want a mapping, of at most 100 names to values",
		"9:100: 2 addresses and users: 1: each takes one, so want at least as many: users: 2",
		"10:46: phases has 0 keys: want rates by phase, like {calm: 50/s, storm: 500/s}",
		"11:37: load[8] plans no request in 2s: nothing could be measured",
		"12:55: during is 10: want a rate like 300/s or 30/m, at most 100000/s",
		`12:84: size is "0B": want a size with a unit, like 500B, 100kB or 1MiB, from 1B to 100MB`,
	}},
	{name: "actions on nginx, at the same time and repeated", old: "phases:\n", new: `phases:
  - {name: start, for: 1s, do: [{kill: nginx}, {reload: nginx}, {kill: nginx-worker-1}, {start: nginx}, {kill: nginx-worker-3}]}
  - name: actions
    for: 2s
    do:
      - repeat: {times: 3, every: 1s, do: [{kill: whoami-1}]}
      - repeat: {times: 0, every: 1, do: []}
      - repeat: {every: 1s, do: [{wait: 1s}]}
      - together: [{kill: whoami-1}]
      - start: all
      - together: [{kill: whoami-1}, {kill: whoami-1}, {start: whoami-1}, {kill: all}]
      - together: [{kill: nginx}, {pause: nginx-worker-1}, {together: [{kill: whoami-1}, {drain: nginx}]}, {restart: whoami-1}]
      - restart: whoami-1
      - start: nginx
      - pause: nginx-worker-2
      - reload: nginx
      - drain: nginx-worker-1
      - pause: nginx
      - resume: nginx-worker-1
      - kill: nginx-worker-1
      - restart: nginx
  - {name: loop, for: 1s, do: [{repeat: {times: 2, every: 400ms, do: [{wait: 600ms}]}}, {wait: 1ms}]}
  - {name: many, for: 1s, do: [{repeat: {times: 1000, every: 1ms, do: [{repeat: {times: 1000, every: 1ms, do: [{wait: 1ms}]}}]}}]}
`, want: []string{
		"6:57: reload nginx: nginx is down (kill); start it first",
		"6:72: kill nginx-worker-1: nginx is down (kill); start it first",
		"6:112: kill nginx-worker-3: there are 2 workers: did you mean nginx-worker-1?",
		"10:7: the waits and repetitions of phase actions take 3s: want less than the phase, 2s",
		"10:51: the second time: kill whoami-1: instance is already down (kill); start it first",
		"11:25: times is 0: want a whole number, 1 to 1000",
		"11:35: every is 1: want a duration with a unit, like 250ms, 2s or 1m30s, from 1ms to 10m",
		"11:42: do has 0 entries: want 1 to 100",
		"12:17: times is missing in repeat",
		"13:19: together has 1 entries: want 2 to 100",
		"15:45: kill of whoami-1 is at the same time as together[0], which is done to it, too: do one after the other",
		"15:64: start of whoami-1 is at the same time as together[0], which is done to it, too: do one after the other",
		"16:43: pause of nginx-worker-1 is at the same time as together[0], which is done to it, too: do one after the other",
		"16:71: together of nginx is at the same time as together[0], which is done to it, too: do one after the other",
		"16:118: restart whoami-1: instance is down (kill); start it first",
		"17:18: restart whoami-1: instance is down (kill); start it first",
		"20:17: reload nginx: nginx-worker-2 is paused, and would end only when it is resumed; resume it first",
		`21:16: drain is "nginx-worker-1": want an instance like whoami-2, nginx, a list of 1 to 60 of them, or all instances: all`,
		"23:17: resume nginx-worker-1: nginx is paused as a whole; resume nginx",
		"24:15: kill nginx-worker-1: nginx is paused; resume it first",
		"26:31: the waits and repetitions of phase loop take 1.201s: want less than the phase, 1s",
		"27:31: phase many has 1000000 operations, all repetitions counted: want at most 1000",
	}},
	{name: "repeated actions", old: "  - {name: during, for: 1s}\n", new: `  - {name: during, for: 2s, do: [{kill: whoami-1}, {repeat: {times: 3, every: 10ms, do: [{start: all}, {kill: all}]}}]}
  - {name: much, for: 2s, do: [{repeat: {times: 600, every: 1ms, do: [{start: all}, {kill: all}]}}]}
  - {name: fits, for: 2s, do: [{repeat: {times: 100, every: 1ms, do: [{start: all}, {kill: all}]}}]}
`, want: []string{
		"7:90: start all: the second time it means other instances than the first: name them",
		"8:31: phase much has 1200 operations, all repetitions counted: want at most 1000",
	}},
	{name: "phases of variants", old: "expect:\n", new: `variants:
  a: {phases: [{name: storm, for: 1s}, {name: storm, for: 1s}, {name: b, for: 1s}]}
  b: {phases: [{name: storm, for: 1s}], load: [{protocol: http, rate: {phases: {during: 1/s}}}]}
  c: {}
expect:
`, want: []string{
		"9:47: phase storm: the name is that of a phase in line 9: choose another",
		"9:71: phase b: the name is that of a variant in line 10: choose another",
		"10:71: load[0] plans no request in 1s in variant b: nothing could be measured",
		"10:81: rate: unknown phase during in variant b: want storm",
		"13:5: during.http.failed == 0: unknown phase during in variant a: want storm, storm, b, total",
	}},
}
