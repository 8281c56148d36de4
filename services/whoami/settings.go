package whoami

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"

	"trivet/internal/nearest"
)

// text is every setting as its user writes it: what go-envconfig fills. It holds strings alone, because go-envconfig
// stops at the first value that it cannot convert, and names the Go field; validate reports all errors, by the names
// that the user knows. The tags are the one list that flags, help, `whoami config` and the README's table come from.
type text struct {
	Environment    string `env:"ENVIRONMENT, default=dev" flag:"environment" want:"dev, qa or prod" help:"what this instance is for; in every response"`
	Instance       string `env:"INSTANCE" flag:"instance" auto:"whoami-N on port 8000+N (N to 60), else the hostname" want:"1 to 64 of A-Z a-z 0-9 . _ -" help:"the instance's name: in every response, header and log line"`
	Bind           string `env:"BIND, default=127.0.0.1" flag:"bind" want:"an IP address" help:"IP address that the HTTP and gRPC listeners bind; 0.0.0.0 accepts remote connections"`
	HTTPPort       string `env:"HTTP_PORT, default=8000" flag:"port" want:"a port, 1 to 65535" help:"port of the HTTP listener (REST)"`
	GRPCPort       string `env:"GRPC_PORT" flag:"grpc-port" auto:"HTTP_PORT + 1000" want:"a port, 1 to 65535, other than HTTP_PORT" help:"port of the gRPC listener"`
	AdminPort      string `env:"ADMIN_PORT" flag:"admin-port" auto:"HTTP_PORT - 1000 for 8000 to 8999, else off" want:"a port, 1 to 65535, other than HTTP_PORT and GRPC_PORT, or off" help:"port of the admin listener: /healthz, /readyz, /status"`
	AdminBind      string `env:"ADMIN_BIND" flag:"admin-bind" auto:"BIND where that is a loopback address, else 127.0.0.1" want:"an IP address" help:"IP address that the admin listener binds; it must never be reachable through a load balancer"`
	PProf          string `env:"PPROF, default=false" flag:"pprof" want:"true or false" help:"serve Go's profiles under /debug/pprof/ on the admin listener"`
	DrainDelay     string `env:"DRAIN_DELAY, default=0s" flag:"drain-delay" want:"a duration, 0s to 10m, like 500ms or 5s" help:"from SIGTERM to closing the listeners, for load balancers that check readiness"`
	DrainTimeout   string `env:"DRAIN_TIMEOUT, default=10s" flag:"drain-timeout" want:"a duration, 0s to 10m, like 500ms or 5s" help:"how long calls may still run once the listeners are closed"`
	ReadTimeout    string `env:"READ_TIMEOUT, default=10s" flag:"read-timeout" want:"a duration, 100ms to 10m, like 500ms or 5s" help:"how long a request may take to arrive: headers and body over HTTP, the one message of a gRPC server stream"`
	CallTimeout    string `env:"CALL_TIMEOUT, default=30s" flag:"call-timeout" want:"a duration, 100ms to 10m, like 500ms or 5s" help:"deadline of a unary call that has none, from its arrival"`
	MaxConnections string `env:"MAX_CONNECTIONS, default=2000" flag:"max-connections" want:"a number, 1 to 1000000" help:"connections per listener at once; more wait to be accepted"`
	MaxCalls       string `env:"MAX_CALLS, default=1000" flag:"max-calls" want:"a number, 1 to 1000000" help:"unary calls at once, and as many streams; more get RESOURCE_EXHAUSTED"`
	LogLevel       string `env:"LOG_LEVEL, default=info" flag:"log-level" want:"debug, info, warn or error" help:"least level that is logged; debug logs every request"`
	LogFormat      string `env:"LOG_FORMAT, default=text" flag:"log-format" want:"text or json" help:"format of log lines, which go to standard error"`
	RequestLog     string `env:"REQUEST_LOG, default=false" flag:"request-log" want:"true or false" help:"log every request at level info"`
	Records        string `env:"RECORDS" flag:"records" auto:"off" want:"a file that can be appended to, or off" help:"file that gets a line at each request's arrival and one at its end"`
	Reflection     string `env:"REFLECTION" flag:"reflection" auto:"true in dev and qa, false in prod" want:"true or false" help:"serve gRPC reflection, which lists the services"`
	GOGC           string `env:"GOGC, default=100" flag:"gogc" want:"a number, 10 to 10000" help:"garbage collection target in percent of live memory; more is less CPU and more memory"`
	RawSyscalls    string `env:"RAW_SYSCALLS, default=false" flag:"raw-syscalls" want:"true or false" help:"read and write sockets without telling Go's scheduler: less CPU behind a load balancer (Linux)"`
	StreamWorkers  string `env:"STREAM_WORKERS, default=0" flag:"stream-workers" want:"a number, 0 to 1024" help:"goroutines that wait for gRPC calls; 0 starts one per call"`
	FixedWindows   string `env:"FIXED_WINDOWS, default=true" flag:"fixed-windows" want:"true or false" help:"gRPC flow-control windows of 4 MB instead of measured ones, which cost a PING per call"`
}

// A Setting is one thing that a user may set: by flag, environment or env file, in this order of precedence.
type Setting struct {
	Name    string // of the environment variable, like HTTP_PORT
	Flag    string // like port, for --port
	Default string // the value, or how it is made, when none is set
	Want    string // which values are allowed, in words
	Help    string
}

// Settings lists all settings, in the order in which help shows them.
func Settings() []Setting {
	var all []Setting
	for field := range reflect.TypeFor[text]().Fields() {
		name, standard, _ := strings.Cut(field.Tag.Get("env"), ", default=")
		all = append(all, Setting{
			Name: name, Flag: field.Tag.Get("flag"), Default: standard + field.Tag.Get("auto"),
			Want: field.Tag.Get("want"), Help: field.Tag.Get("help"),
		})
	}
	return all
}

// Sources are where settings come from. In each, an empty value counts as none.
type Sources struct {
	Flags   map[string]string  // by the setting's name
	Environ envconfig.Lookuper // the process's environment, or a map in tests
	EnvFile string             // path; "" is no file
}

// A Value is a setting with the value it has and where that came from: "--port", "environment", ".env.qa:3" or
// "default".
type Value struct {
	Setting
	Value, Source string
}

// Load reads the settings and checks them: the highest source that has a value wins. It returns every error at once,
// each a [SettingError] where a value is not allowed. The values are returned in any case.
func Load(ctx context.Context, from Sources) (Config, []Value, error) {
	layers, errs := from.layers()
	var t text
	found := make(map[string]string) // source by name
	lookup := envconfig.LookuperFunc(func(name string) (string, bool) {
		for _, l := range layers {
			if value, source := l(name); value != "" {
				found[name] = source
				return value, true
			}
		}
		return "", false
	})
	if err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: &t, Lookuper: lookup}); err != nil {
		return Config{}, nil, errors.Join(errs, err)
	}
	config, wrong := t.validate(found)
	return config, t.values(found, config), errors.Join(errs, wrong)
}

// A layer gives the value of a setting and the source to name for it; "" means that it has none.
type layer func(name string) (value, source string)

func (s Sources) layers() ([]layer, error) {
	flag := make(map[string]string)
	for _, setting := range Settings() {
		flag[setting.Name] = "--" + setting.Flag
	}
	file, err := s.envFile()
	return []layer{
		func(name string) (string, string) { return s.Flags[name], flag[name] },
		func(name string) (string, string) {
			value, _ := s.Environ.Lookup(name)
			return value, "environment"
		},
		func(name string) (string, string) {
			return file[name].value, fmt.Sprintf("%s:%d", s.EnvFile, file[name].line)
		},
	}, err
}

// envFile reads the env file, and refuses names that are no settings: a misspelled one would silently do nothing.
func (s Sources) envFile() (map[string]envLine, error) {
	if s.EnvFile == "" {
		return nil, nil
	}
	lines, err := readEnvFile(s.EnvFile)
	errs := []error{err}
	known := names()
	byName := make(map[string]envLine)
	for _, l := range lines {
		if !slices.Contains(known, l.name) {
			errs = append(errs, fmt.Errorf("%s:%d: unknown setting %s: did you mean %s?", s.EnvFile, l.line, l.name, nearest.Name(l.name, known)))
		}
		byName[l.name] = l
	}
	return byName, errors.Join(errs...)
}

func names() []string {
	var all []string
	for _, s := range Settings() {
		all = append(all, s.Name)
	}
	return all
}

// values lists what holds: what was set, else what validate made of it.
func (t text) values(found map[string]string, made Config) []Value {
	var all []Value
	v := reflect.ValueOf(t)
	for i, s := range Settings() {
		value := Value{s, v.Field(i).String(), found[s.Name]}
		if value.Source == "" {
			value.Source = "default"
		}
		if value.Value == "" {
			value.Value = made.derived(s.Name)
		}
		all = append(all, value)
	}
	return all
}
