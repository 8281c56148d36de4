package experiment

import "strings"

// wrongs are files with all that is wrong with them. Where new is given, the file is small with new in old's place.
var wrongs = []struct {
	name, text, old, new string
	want                 []string
}{
	{name: "empty", text: "", want: []string{"1:1: the file is empty: want an experiment, with question, load, phases and expect"}},
	{name: "comments alone", text: "# nothing\n", want: []string{"1:1: the file is empty: want an experiment, with question, load, phases and expect"}},
	{name: "a list", text: "- a\n", want: []string{"1:1: the file is a list: want a mapping, with question, answer, seed, fleet, nginx, load, phases, expect, variants"}},
	{name: "two documents", text: small + "---\na: 1\n", want: []string{"10:1: a second document begins here: want one experiment a file"}},
	{name: "a tab", text: "question: Q?\nload:\n\t- {protocol: http}\n", want: []string{"3:1: a tab: YAML wants spaces before a line's text"}},
	{name: "no YAML", text: "question: [a\nload: {\n", want: []string{"2:1: not YAML: did not find expected ',' or ']'"}},
	{name: "nothing of what must be", text: "seed: 1\n", want: []string{"1:1: question is missing", "1:1: load is missing", "1:1: phases is missing", "1:1: expect is missing"}},
	{name: "many at once", text: `quesion: Q?
seed: -1
fleet: {instances: 99, workers: two, cores: 1}
load: {protocol: http}
phases: []
expect:
  - a: b
  - 3
`, want: []string{
		"1:1: unknown key quesion: did you mean question?",
		"1:1: question is missing",
		"2:7: seed is -1: want a whole number, 0 or more",
		"3:20: instances is 99: want a whole number, 1 to 60",
		`3:33: workers is "two": want a whole number, 1 to 16`,
		"3:38: unknown key cores: did you mean workers?",
		"4:7: load is a mapping: want a list",
		"5:9: phases has 0 entries: want 1 to 20",
		`7:5: expect[0] is read as a key and its value: put an expectation with ": " or " #" in it in quotes`,
		"8:5: expect[1] is 3: want text; put it in quotes if it is meant so",
	}},
	{name: "an unknown anchor", old: "expect:", new: "seed: 1 # *one\nfleet: {instances: 3, workers: *one}\nexpect:", want: []string{"9:32: not YAML: there is no anchor &one before this"}},
	{name: "a NUL", old: "question: Q?", new: "question: Q?\nanswer: é\x00", want: []string{`2:10: control character '\x00': YAML wants it as an escape, in double quotes`}},
	{name: "Latin-1", old: "question: Q?", new: "question: é und \xe4\xdf?", want: []string{"1:17: byte 0xe4 is not UTF-8: YAML wants text in that"}},
	{name: "no YAML, further down", old: "  - {name: during, for: 1s}", new: "  - {name: during, for: 1s}\n   {name: b: c}", want: []string{"6:3: not YAML: did not find expected '-' indicator"}},
	{name: "a folded expectation", old: "- during.http.failed == 0", new: `- during.http.failed == 0
      and before.http.failed == 0
      and durin.http.failed == 0
  - "during.http.codes[\"200\"] == 0 and durin.http.failed == 0"
  - len("é×") == 2 and durin.http.failed == 0`, want: []string{
		"9:5: during.http.failed == 0 and before.http.failed == 0 and durin.http.failed == 0: unknown name durin: did you mean during?",
		`12:5: during.http.codes["200"] == 0 and durin.http.failed == 0: unknown name durin: did you mean during?`,
		`13:24: len("é×") == 2 and durin.http.failed == 0: unknown name durin: did you mean during?`,
	}},
	{name: "numbers", old: "question: Q?", new: "question: Q?\nseed: 0x10\nfleet: {instances: 0x3, workers: 0x11}", want: []string{"3:34: workers is 0x11: want a whole number, 1 to 16"}},
	{name: "a wait that is wrong", old: "- {name: during, for: 1s}", new: "- {name: during, for: 5s, do: [{wait: 5s}, {wait: -1s}]}\n  - {name: after, for: 1, do: [{wait: 2s}]}", want: []string{
		`7:53: wait is "-1s": want a duration with a unit, 1ms to 10m, like 250ms, 2s or 1m30s`,
		"8:24: for is 1: want a duration with a unit, 100ms to 10m, like 250ms, 2s or 1m30s",
	}},
	{name: "no request", old: "rate: 10/s}\n", new: "rate: 0.01/s}\n  - {name: a, protocol: http, rate: {ramp: [0/s, 0.1/m]}}\n  - {name: b, protocol: http, rate: 0.5/s}\n", want: []string{
		"3:28: load[0] plans no request in 2s: nothing could be said of it",
		"4:37: load[1] plans no request in 2s: nothing could be said of it",
	}},
	{name: "no rate", old: "rate: 10/s}\n", new: "deadline: 1s}\n", want: []string{"3:5: rate is missing in load[0]"}},
	{name: "a variant as of a file without", old: "question: Q?", new: "question: Q?\nvariants: {only: {}, other: {}}", want: []string{
		`2:12: variant is "only", as that of a file without variants is called: choose another name`,
	}},
	{name: "a key twice", old: "question: Q?", new: "question: Q?\nseed: 1\nseed: 2", want: []string{`3:1: key "seed" stands here a second time; the first is in line 2`}},
	{name: "an empty value", old: "question: Q?", new: "question:", want: []string{"1:10: question is empty: want text"}},
	{name: "a merge", old: "question: Q?", new: "question: Q?\nfleet: {<<: {instances: 3}}", want: []string{"2:9: << is not known here: write the keys out"}},
	{name: "a tag", old: "- during.http.failed == 0", new: "- !during.http.recovery.failed", want: []string{"9:5: expect[0] begins with !during.http.recovery.failed, which YAML takes for a tag: put it in quotes"}},

	{name: "loads", old: "load:\n", new: `load:
  - {protocol: htp, rate: 300}
  - {protocol: http, rate: 0/s, name: In, channels: 3, call: watch}
  - {protocol: grpc, rate: 300/x, name: grpc_2, connections: 3, call: wach, deadline: 2}
  - {protocol: grpc, rate: {ramp: [1/s]}, name: http, call: watch}
  - {protocol: grpc, rate: {step: [0/s, 0/s], ramp: [1/s, 2/s]}, name: grpc_2, call: watch, hold: 6s, retry: maybe}
  - {rate: {slope: [1/s]}, name: last, hold: 1s}
`, want: []string{
		`3:16: protocol is "htp": want http or grpc: did you mean http?`,
		`3:27: rate is 300: want a rate like 300/s or 30/m, more than 0 and at most 100000/s`,
		`4:5: hold is missing in load[1]: a watch wants to know after how long its caller hangs up`,
		`4:28: rate is "0/s": want a rate like 300/s or 30/m, more than 0 and at most 100000/s`,
		`4:39: name is "In": want a name of small letters, digits and _, at most 64, that begins with a letter`,
		`4:53: channels is for grpc: HTTP callers have connections`,
		`4:62: call: watch is for grpc: over HTTP there is unary alone`,
		`5:28: rate is "300/x": want a rate like 300/s or 30/m, more than 0 and at most 100000/s`,
		`5:62: connections is for http: gRPC callers have channels`,
		`5:71: call is "wach": want unary or watch or silent: did you mean watch?`,
		`5:87: deadline is 2: want a duration with a unit, 1ms to 60s, like 250ms, 2s or 1m30s`,
		`6:5: hold is missing in load[3]: a watch wants to know after how long its caller hangs up`,
		`6:35: ramp has 1 entries: want 2`,
		`6:49: name is "http", and the protocol is grpc: choose another name`,
		`7:28: rate has both ramp and step: want one of them`,
		`7:72: a second load is called grpc_2: give it a name of its own`,
		`7:99: hold is 6s: want less than the deadline, 5s`,
		`7:110: retry is "maybe": want true or false`,
		`8:5: protocol is missing in load[5]`,
		`8:13: unknown key slope: did you mean step?`,
		`8:34: name is "last", which means something else in expectations: choose another name`,
		`8:46: hold is for call: watch alone`,
		`9:5: a second load is called http: give it a name of its own`,
	}},
	{name: "rates", old: "rate: 10/s}\n", new: `rate: {step: [0/s, 0/m]}}
  - {name: two, protocol: http, rate: [1/s]}
  - {name: three, protocol: http, rate: {ramp: [1/s, -1/s]}}
  - {name: four, protocol: http, rate: {}}
  - {name: five, protocol: http, rate: 1e6/s}
  - {name: six, protocol: http, rate: NaN/s}
`, want: []string{
		"3:35: step has no rate above 0",
		"4:39: rate is a list: want a rate like 300/s, {ramp: [100/s, 500/s]} or {step: [100/s, 300/s, 500/s]}",
		`5:54: ramp[1] is "-1/s": want a rate like 300/s or 30/m, at most 100000/s`,
		"6:40: rate is an empty mapping: want a rate like 300/s, {ramp: [100/s, 500/s]} or {step: [100/s, 300/s, 500/s]}",
		`7:40: rate is "1e6/s": want a rate like 300/s or 30/m, more than 0 and at most 100000/s`,
		`8:39: rate is "NaN/s": want a rate like 300/s or 30/m, more than 0 and at most 100000/s`,
	}},
	{name: "too much", old: "rate: 10/s}\n  - {protocol: grpc, rate: 10/s}", new: "rate: 100000/s}\n  - {protocol: grpc, rate: 950000/s}\n  - {protocol: grpc, name: b, rate: {ramp: [0/s, 100000/s]}, deadline: 61s}",
		want: []string{
			`4:28: rate is "950000/s": want a rate like 300/s or 30/m, more than 0 and at most 100000/s`,
			`5:72: deadline is "61s": want a duration with a unit, 1ms to 60s, like 250ms, 2s or 1m30s`,
		}},
	{name: "too many requests", old: "for: 1s}\n  - {name: during, for: 1s}", new: "for: 10m}\n  - {name: during, for: 10m}\nseed: 2\nfleet: {}\nvariants: {a: {load: [{protocol: http, rate: 1700/s}, {protocol: grpc, rate: 1/s}]}, b: {}}",
		want: []string{"10:22: load plans 2041200 requests in 20m0s: want at most 2000000"}},
	{name: "phases and actions", old: "- {name: during, for: 1s}", new: `- {name: during, for: 1s, do: [{kill: whoami-4}, {kil: whoami-1}, {kill: whoami-1, wait: 1s}, {}, {wait: 1s}, {reload: whoami-1}]}
  - {name: during, for: 11m}
  - {name: run, for: 1s}
  - {name: http, for: 1s, do: [{cont: whoami-1}, {start: all}, {start: whoami-3}, {stop: [whoami-2, whoami-2]}, {start: whoami-2}, {drain: whoami-2}, {cont: whoami-2}]}
  - {name: a b, for: 100, do: [{kill: []}, {drain: {}}, {stop: 3}]}`, want: []string{
		"7:33: the waits of phase during are 2s together: want less than the phase, 1s",
		"7:41: kill: there is no whoami-4 among 3 instances: did you mean whoami-1?",
		"7:53: unknown key kil: did you mean kill?",
		"7:69: do[2] has 2 actions: want one an entry, as a list of them is done in order",
		"7:97: do[3] has 0 actions: want one an entry, as a list of them is done in order",
		`7:122: reload is "whoami-1": want nginx: did you mean nginx?`,
		"8:12: phase during is called like a phase in line 7: choose another name",
		`8:25: for is "11m": want a duration with a unit, 100ms to 10m, like 250ms, 2s or 1m30s`,
		`9:12: name is "run", which means something else in expectations: choose another name`,
		"10:12: http means callers: choose another name",
		"10:39: cont whoami-1: it is down, after kill: start comes first",
		"10:72: start whoami-3: it is running, nothing has killed or drained it before",
		"10:101: stop whoami-2: whoami-2 is named before it in this action",
		"10:121: start whoami-2: it is stopped: what ends a stop is cont",
		"10:158: cont whoami-2: it is down, after drain: start comes first",
		`11:12: name is "a b": want a name of small letters, digits and _, at most 64, that begins with a letter`,
		"11:22: for is 100: want a duration with a unit, 100ms to 10m, like 250ms, 2s or 1m30s",
		"11:39: kill is a list: want an instance, a list of 1 to 60 instances, or all",
		"11:52: drain is an empty mapping: want an instance, a list of 1 to 60 instances, or all",
		"11:64: stop is 3: want text; put it in quotes if it is meant so",
	}},
	{name: "actions that do nothing", old: "  - {name: during, for: 1s}", new: `  - {name: a, for: 1s, do: [{cont: all}, {stop: whoami-1}, {stop: whoami-1}]}
  - {name: during, for: 1s, do: [{start: all}, {cont: all}, {cont: all}, {kill: all}]}
  - {name: c, for: 1s, do: [{stop: all}, {kill: whoami-1}, {drain: whoami-1}, {kill: all}, {drain: all}, {start: all}, {start: all}]}
  - {name: d, for: 1s, do: [{restart: [whoami-1, all]}, {stop: [all, whoami-2]}, {stop: all}]}`, want: []string{
		"7:36: cont all: nobody is stopped",
		"7:67: stop whoami-1: it is stopped already: cont comes first",
		"8:42: start all: all are running, nothing has killed or drained one before",
		"8:68: cont all: nobody is stopped",
		"9:36: stop all: all are stopped or down already",
		"9:49: kill whoami-1: it is down already, after kill: start comes first",
		"9:68: drain whoami-1: it is down already, after kill: start comes first",
		"9:86: kill all: all are down already",
		"9:100: drain all: all are down already",
		"9:128: start all: all are running, nothing has killed or drained one before",
		"10:50: restart all: whoami-1 is named before it in this action",
		"10:70: stop whoami-2: whoami-2 is named before it in this action",
		"10:89: stop all: all are stopped or down already",
	}},
	{name: "variants", old: "expect:\n", new: `variants:
  plain: {}
  during: {fleet: {instances: 1}}
  sum: {about: "", seed: 2}
  Big: {load: []}
  few: {load: [{protocol: http, rate: 1/s, name: plain}]}
expect:
  - plain.during.http.failed > few.during.grpc.failed
  - plain.during.http.failed > before.http.failed
  - plain.durin.http.failed > 0
  - during.grpc.failed == 0
`, want: []string{
		"10:3: variant during is called like a phase in line 7: choose another name",
		`11:3: variant is "sum", which means something else in expectations: choose another name`,
		`11:16: about is "": want text`,
		"11:20: unknown key seed: did you mean fleet?",
		`12:3: variant is "Big": want a name of small letters, digits and _, at most 64, that begins with a letter`,
		"12:15: load has 0 entries: want 1 to 16",
		"13:50: load plain is called like a variant in line 9: choose another name",
	}},
	{name: "expectations of variants", old: "expect:\n", new: `variants:
  plain: {}
  few: {load: [{protocol: http, rate: 1/s}], fleet: {instances: 1}}
answer: "{plain.during.http.failed} of {during.http.requests}, {plain.during.http}, {nobody}"
expect:
  - plain.during.http.failed > few.during.grpc.failed
  - plain.during.http.failed > before.http.failed
  - plain.durin.http.failed > 0
  - during.grpc.failed == 0
  - during.http.answers["whoami-2"] > 0
  - only.during.http.failed == 0
`, want: []string{
		"11:41: answer: during.http.requests is asked of 2 variants: name one, like plain.during.http.requests",
		"11:65: answer: plain.during.http: plain.during.http is many figures: name one, like plain.during.http.failed",
		"11:86: answer: nobody: unknown name nobody: did you mean before?",
		"13:43: plain.during.http.failed > few.during.grpc.failed: unknown load grpc in variant few: did you mean http?",
		"14:32: plain.during.http.failed > before.http.failed: before is a phase and plain a variant: name a variant everywhere, or nowhere",
		"15:11: plain.durin.http.failed > 0: unknown phase durin: did you mean during?",
		"16:12: during.grpc.failed == 0: unknown load grpc in variant few: did you mean http?",
		`17:25: during.http.answers["whoami-2"] > 0: answers never has "whoami-2" in variant few: did you mean whoami-1?`,
		"18:5: only.during.http.failed == 0: unknown name only: did you mean run?",
	}},
	{name: "an answer with an open brace", old: "question: Q?", new: "question: Q?\nanswer: 'lost {during.http.failed'", want: []string{
		`2:9: answer: a brace is open: want expressions in braces, like "{during.http.failed} requests failed"`,
	}},
	{name: "edits", old: "load:\n", new: `nginx:
  set:
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
		"5:7: set[1] has 2 of directive, parameter and remove: want one",
		"6:7: set[2] has 0 of directive, parameter and remove: want one",
		"7:7: context is missing in set[3]",
		`8:57: parameter "max_fails=1;" is not one word: write it like max_fails=1 or backup`,
		`10:17: context is "": want text`,
		"10:29: remove is 3: want text; put it in quotes if it is meant so",
	}},
	{name: "edits of what the laboratory needs", old: "load:\n", new: `nginx:
  set:
    - {context: main, directive: worker_processes 4}
    - {context: main worker_processes, parameter: "4"}
    - {context: main, remove: worker_processes}
    - {context: main, directive: error_log /dev/null}
    - {context: http, directive: 'map $a $b { default 1; error_log logs/error.log crit; }'}
    - {context: main, remove: error_log logs/error.log}
    - {context: main, directive: error_log logs/error.log debug;}
    - {context: main, directive: worker_priority 1}
load:
`, want: []string{
		"4:34: how many workers nginx has, is a setting of the fleet: write fleet: {workers: 4}; the law of fair shares counts with it",
		"5:51: how many workers nginx has, is a setting of the fleet: write fleet: {workers: 4}; the law of fair shares counts with it",
		"6:31: how many workers nginx has, is a setting of the fleet: write fleet: {workers: 4}; the law of fair shares counts with it",
		`7:34: what nginx writes into its error log, the laboratory reads: want at most "error_log logs/error.log debug" (or info, or notice)`,
		`8:34: what nginx writes into its error log, the laboratory reads: want at most "error_log logs/error.log debug" (or info, or notice)`,
		`9:31: what nginx writes into its error log, the laboratory reads: want at most "error_log logs/error.log debug" (or info, or notice)`,
	}},
	{name: "a long expectation", old: "during.http.failed == 0", new: strings.Repeat("not ", 200_000) + "true", want: []string{
		"9:5: " + strings.Repeat("not ", 50) + "…: an expression of 800004 characters: want at most 1000",
	}},
	{name: "a deep expectation", old: "during.http.failed == 0", new: strings.Repeat("(", 1000), want: []string{
		"9:1004: " + strings.Repeat("(", 200) + "…: it ends too early",
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
		"11:17: during.http.failled == 0: unknown figure failled: did you mean failed?",
		"12:6: fare(during.http): unknown function fare: did you mean fair?",
		`13:23: during.http.codes.Unavalable == 0: codes never has "Unavalable": did you mean Unavailable?`,
		`14:25: during.http.reasons["rest"] == 0: reasons never has "rest": did you mean reset?`,
		`15:32: during.http.first_attempts["whoami-4"] == 0: first attempts never has "whoami-4": did you mean whoami-1?`,
		`16:25: during.http.latency.p98 < duration("1s"): unknown figure p98: did you mean p90?`,
		"17:33: during.http.failed == 0 and afer.http.failed == 0: unknown name afer: did you mean before?",
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
		"13:11: fair(during): fair wants all figures of calls: write it like fair(during.http)",
		"14:5: during.http == 0: during.http is many figures: name one, like during.http.failed",
	}},
}
