package main

import "trivet/bench/stats"

// Settings of the instance that are not for every service, with the values that rows of tuning measure; docs/performance.md says what
// each costs.
const (
	rawSyscalls     = "RAW_SYSCALLS=true"
	gogc            = "GOGC=400"
	streamWorkers   = "STREAM_WORKERS=64"
	measuredWindows = "FIXED_WINDOWS=false"
	noMetrics       = "METRICS=false"
)

func ours(name string, env ...string) side  { return side{name: name, backend: whoami, env: env} }
func plain(name string, env ...string) side { return side{name: name, backend: bare, env: env} }
func behind(name string, program backend, f front) side {
	return side{name: name, backend: program, nginx: f}
}
func alone(name string, program backend) side {
	return side{name: name, backend: program, direct: true}
}

// usual are the metrics of most rows; the bars are those of instance CPU and of requests/s.
func usual(cpu, rate *stats.Bar) []goal {
	return []goal{{instanceCPU, cpu}, {nginxCPU, nil}, {p50, nil}, {p99, nil}, {perSecond, rate}}
}

// comparisons are the rows of two sides: the table's sections 0 to 3 and 6 to 9.
func (b *bench) comparisons() []comparison {
	var (
		defaults = front{defaults: true}
		records  = "RECORDS=$DIR/records.jsonl"
		cpu      = []goal{{instanceCPU, nil}}
		same     = []goal{{instanceCPU, &stats.Bar{Kind: stats.Equal, Value: 1}}, {nginxCPU, nil}, {p50, nil}, {p99, nil}, {perSecond, nil}}
		messages = []goal{{instanceMessage, nil}, {nginxMessage, nil}}
		local    = []goal{{allCPU, nil}, {p50, nil}, {p99, nil}, {perSecond, nil}}
		files    = []goal{{nginxCPU, atMost(0.5)}, {allCPU, nil}, {p50, nil}, {p99, nil}, {perSecond, atLeast(2)}}
		payload  = []goal{{nginxCPU, nil}, {p50, nil}, {p99, nil}, {perSecond, nil}}
	)
	all := []comparison{
		{"0 A/A REST", false, ours("whoami"), ours("whoami again"), unary, same},
		{"0 A/A gRPC", true, ours("whoami"), ours("whoami again"), unary, same},

		{"1a REST through nginx", false, ours("whoami"), plain("net/http"), unary, usual(atMost(1.25), atLeast(0.95))},
		{"1a REST through nginx", false, ours("whoami tuned", rawSyscalls, gogc, streamWorkers), plain("net/http "+gogc, gogc), unary, usual(atMost(1.1), nil)},
		{"1a REST new connections", false, ours("whoami"), plain("net/http"), fresh, usual(nil, nil)},
		{"1a REST streams", false, ours("whoami"), plain("net/http"), watch, messages},
		{"1b REST through nginx", false, ours("whoami"), behind("podinfo", podinfo, front{}), unary, usual(nil, nil)},
		{"1c REST through nginx", false, ours("whoami"), behind("FastAPI", fastAPI, front{}), unary, usual(atMost(0.167), atLeast(6))},
		{"1c REST through nginx", false, ours("whoami"), behind("FastAPI behind defaults", fastAPI, defaults), unary, usual(atMost(0.167), atLeast(6))},
		{"1d REST through nginx", false, ours("whoami"), behind("return 200", whoami, front{local: true}), unary, local},

		{"2a gRPC through nginx", true, ours("whoami"), plain("grpc-go"), unary, usual(atMost(0.75), atLeast(1.8))},
		{"2a gRPC through nginx", true, ours("whoami tuned", rawSyscalls, gogc, streamWorkers), plain("grpc-go "+gogc, gogc), unary, usual(atMost(0.6), nil)},
		{"2a gRPC new connections", true, ours("whoami"), plain("grpc-go"), fresh, usual(nil, nil)},
		{"2a gRPC streams", true, ours("whoami"), plain("grpc-go"), watch, messages},
		{"2a gRPC directly", true, alone("whoami", whoami), alone("grpc-go", bare), multiplexed, []goal{{instanceCPU, nil}, {perSecond, nil}}},
		{"2b gRPC through nginx", true, ours("whoami"), behind("podinfo", podinfo, front{}), unary, usual(nil, nil)},

		{"3 nginx files REST", false, behind("shipped", whoami, front{}), behind("defaults", whoami, defaults), unary, files},
		{"3 nginx files REST 1 kB", false, behind("shipped", bareOf(1000), front{}), behind("defaults", bareOf(1000), defaults), unary, payload},
		{"3 nginx files REST 100 kB", false, behind("shipped", bareOf(100_000), front{}), behind("defaults", bareOf(100_000), defaults), unary, payload},
		{"3 nginx files gRPC", true, behind("shipped", whoami, front{}), behind("defaults", whoami, defaults), unary, files},
		{"3 nginx files gRPC 1 kB", true, behind("shipped", bareOf(1000), front{}), behind("defaults", bareOf(1000), defaults), unary, payload},
		{"3 nginx files gRPC 100 kB", true, behind("shipped", bareOf(100_000), front{}), behind("defaults", bareOf(100_000), defaults), unary, payload},

		{"6 records REST", false, ours("records on", records), ours("off"), unary, cpu},
		{"6 records gRPC", true, ours("records on", records), ours("off"), unary, cpu},
		{"6 records REST", false, ours("records on, raw system calls", records, rawSyscalls), ours("off", rawSyscalls), unary, cpu},
		{"6 records gRPC", true, ours("records on, raw system calls", records, rawSyscalls), ours("off", rawSyscalls), unary, cpu},

		{"7 tuning REST", false, ours("raw system calls", rawSyscalls), ours("off"), unary, cpu},
		{"7 tuning gRPC", true, ours("raw system calls", rawSyscalls), ours("off"), unary, cpu},
		{"7 tuning REST", false, ours(gogc, gogc), ours("off"), unary, cpu},
		{"7 tuning gRPC", true, ours(gogc, gogc), ours("off"), unary, cpu},
		{"7 tuning gRPC", true, ours("64 stream workers", streamWorkers), ours("off"), unary, cpu},
		{"7 tuning REST", false, ours("all on", rawSyscalls, gogc, streamWorkers), ours("off"), unary, cpu},
		{"7 tuning gRPC", true, ours("all on", rawSyscalls, gogc, streamWorkers), ours("off"), unary, cpu},
		{"7 tuning gRPC", true, ours("fixed windows"), ours("off", measuredWindows), unary, cpu},

		{"8 metrics REST", false, behind("metrics on", scraped, front{}), side{name: "off", backend: scraped, env: []string{noMetrics}}, unary, cpu},
		{"8 metrics gRPC", true, behind("metrics on", scraped, front{}), side{name: "off", backend: scraped, env: []string{noMetrics}}, unary, cpu},

		{"9 traces REST", false, behind("traces on", traced, front{}), ours("off"), unary, cpu},
		{"9 traces gRPC", true, behind("traces on", traced, front{}), ours("off"), unary, cpu},
	}
	if b.traefik != "" {
		all = append(all,
			comparison{"1b REST through nginx", false, ours("whoami"), behind("traefik", traefik, front{}), unary, usual(atMost(0.33), atLeast(3))},
			comparison{"2b gRPC through nginx", true, ours("whoami"), behind("traefik", traefik, front{}), unary, usual(atMost(0.67), atLeast(1.5))},
			comparison{"2b gRPC directly", true, alone("whoami", whoami), alone("traefik", traefik), multiplexed, []goal{{instanceCPU, atMost(0.2)}, {perSecond, atLeast(5)}}})
	}
	return all
}
