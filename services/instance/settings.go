package instance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/sethvargo/go-envconfig"

	"trivet/internal/nearest"
)

// text holds every setting as written by the user, filled by go-envconfig. All fields are strings, because go-envconfig
// stops at the first value that it cannot convert and reports the Go field; validate reports all errors, by the names
// of the settings. Flags, help, the config command and the README's table are generated from these tags.
type text struct {
	Environment    string `env:"ENVIRONMENT, default=dev" flag:"environment" want:"dev, qa or prod" help:"environment that the instance runs in; part of every response"`
	Instance       string `env:"INSTANCE" flag:"instance" auto:"{service}-N on port {port}+N (N to 60), else the hostname" want:"1 to 64 of A-Z a-z 0-9 . _ -" help:"name of the instance; part of every response, header and log line"`
	Node           string `env:"NODE" flag:"node" auto:"none" want:"1 to 253 of A-Z a-z 0-9 . _ -" help:"machine or cluster node that the instance runs on; part of every response if set"`
	Bind           string `env:"BIND, default=127.0.0.1" flag:"bind" want:"an IP address" help:"IP address that the HTTP and gRPC listeners bind; 0.0.0.0 accepts remote connections"`
	HTTPPort       string `env:"HTTP_PORT" flag:"port" auto:"{port}" want:"a port, 1 to 65535" help:"port of the HTTP listener (REST)"`
	GRPCPort       string `env:"GRPC_PORT" flag:"grpc-port" auto:"HTTP_PORT + 1000" want:"a port, 1 to 65535, other than HTTP_PORT" help:"port of the gRPC listener"`
	AdminPort      string `env:"ADMIN_PORT" flag:"admin-port" auto:"HTTP_PORT - 1000 for 8000 to 8999, else off" want:"a port, 1 to 65535, other than HTTP_PORT and GRPC_PORT, or off" help:"port of the admin listener: /healthz, /readyz, /status, /metrics"`
	AdminBind      string `env:"ADMIN_BIND" flag:"admin-bind" auto:"BIND where that is a loopback address, else 127.0.0.1" want:"an IP address" help:"IP address that the admin listener binds; it must never be reachable through a load balancer"`
	Metrics        string `env:"METRICS, default=true" flag:"metrics" want:"true, false, or classic: with classic histogram buckets too" help:"serve metrics for Prometheus at /metrics on the admin listener"`
	PProf          string `env:"PPROF, default=false" flag:"pprof" want:"true or false" help:"serve Go's profiles under /debug/pprof/ on the admin listener"`
	DrainDelay     string `env:"DRAIN_DELAY, default=0s" flag:"drain-delay" want:"a duration, 0s to 10m, like 500ms or 5s" help:"time from SIGTERM to closing the listeners, for load balancers that check readiness"`
	DrainTimeout   string `env:"DRAIN_TIMEOUT, default=10s" flag:"drain-timeout" want:"a duration, 0s to 10m, like 500ms or 5s" help:"time that unary calls may still run once the listeners are closed"`
	ReadTimeout    string `env:"READ_TIMEOUT, default=10s" flag:"read-timeout" want:"a duration, 100ms to 10m, like 500ms or 5s" help:"time that a request may take to arrive: headers and body over HTTP, the one message of a gRPC server stream"`
	CallTimeout    string `env:"CALL_TIMEOUT, default=30s" flag:"call-timeout" want:"a duration, 100ms to 10m, like 500ms or 5s" help:"deadline of unary calls that arrive without one, from their arrival"`
	MaxConnections string `env:"MAX_CONNECTIONS, default=2000" flag:"max-connections" want:"a number, 1 to 1000000" help:"open connections per listener; others wait to be accepted"`
	MaxCalls       string `env:"MAX_CALLS, default=1000" flag:"max-calls" want:"a number, 1 to 1000000" help:"concurrent unary calls, and as many streams; others get RESOURCE_EXHAUSTED"`
	TLSCert        string `env:"TLS_CERT" flag:"tls-cert" auto:"off" want:"a PEM file with a certificate that has a SPIFFE ID, and its chain; set with TLS_KEY and TLS_CA, or off" help:"certificate of the instance: with it both listeners accept only callers with a certificate of TLS_CA; read again when it changes"`
	TLSKey         string `env:"TLS_KEY" flag:"tls-key" auto:"off" want:"the PEM file with the key of TLS_CERT, maybe the same file, or off" help:"key of TLS_CERT; read again when it changes"`
	TLSCA          string `env:"TLS_CA" flag:"tls-ca" auto:"off" want:"a PEM file with certificates of authorities, or off" help:"authorities whose certificates are accepted; read again when it changes"`
	TLSCallers     string `env:"TLS_CALLERS, default=spiffe://trivet/*" flag:"tls-callers" want:"SPIFFE IDs separated by commas, each maybe with a * at its end, like spiffe://trivet/nginx,spiffe://trivet/client/*" help:"identities that may call, with TLS_CERT; a * stands for any rest"`
	TLSMinVersion  string `env:"TLS_MIN_VERSION, default=1.3" flag:"tls-min-version" want:"1.2 or 1.3" help:"lowest version of TLS, with TLS_CERT; over 1.3 a caller that is refused may have sent its request already"`
	HopsHTTP       string `env:"HOPS_HTTP" flag:"hops-http" auto:"off" want:"a URL, http:// or https:// with a host and no path, or off" help:"URL of nginx's HTTP listener, where the calls go that a request wants over http"`
	HopsGRPC       string `env:"HOPS_GRPC" flag:"hops-grpc" auto:"off" want:"host:port, for TLS with https:// before it, or off" help:"nginx's gRPC listener, where the calls go that a request wants over grpc"`
	MaxWork        string `env:"MAX_WORK" flag:"max-work" auto:"1s in dev and qa, 0s in prod" want:"a duration, 0s to 10m, like 500ms or 5s" help:"longest work that a request may ask for"`
	LogLevel       string `env:"LOG_LEVEL, default=info" flag:"log-level" want:"debug, info, warn or error" help:"lowest level that is logged; debug logs every request"`
	LogFormat      string `env:"LOG_FORMAT, default=text" flag:"log-format" want:"text or json" help:"format of log lines, which go to standard error"`
	RequestLog     string `env:"REQUEST_LOG, default=false" flag:"request-log" want:"true or false" help:"log every request at level info"`
	Records        string `env:"RECORDS" flag:"records" auto:"off" want:"a file that can be appended to, stdout, or off" help:"file to append a line to when a request arrives and when it ends; stdout is standard output"`
	Traces         string `env:"TRACES" flag:"traces" auto:"otlp if OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set, else off" want:"otlp or off" help:"OpenTelemetry: send a span of every request to a collector, as the variables OTEL_* say"`
	StartID        string `env:"START_ID, default=random" flag:"start-id" want:"1 to 64 of A-Z a-z 0-9 . _ -, or random" help:"identifies this start of the instance in its records"`
	Reflection     string `env:"REFLECTION" flag:"reflection" auto:"true in dev and qa, false in prod" want:"true or false" help:"serve gRPC reflection, which lists the services"`
	GOGC           string `env:"GOGC, default=100" flag:"gogc" want:"a number, 10 to 10000" help:"garbage collection target in percent of live memory; higher uses less CPU and more memory"`
	RawSyscalls    string `env:"RAW_SYSCALLS, default=false" flag:"raw-syscalls" want:"true or false" help:"read and write sockets, and write records, by system calls that Go's scheduler does not see: less CPU behind a load balancer (Linux)"`
	StreamWorkers  string `env:"STREAM_WORKERS, default=0" flag:"stream-workers" want:"a number, 0 to 1024" help:"goroutines that wait for gRPC calls; 0 starts one per call"`
	FixedWindows   string `env:"FIXED_WINDOWS, default=true" flag:"fixed-windows" want:"true or false" help:"gRPC flow-control windows of 4 MB per stream instead of measured ones, which cost a PING per call"`
}

// A Setting can be set by flag, environment variable or env file, in this order of precedence.
type Setting struct {
	Name    string // of the environment variable, like HTTP_PORT
	Flag    string // like port, for --port
	Default string // the value if none is set, or how it is derived
	Want    string // allowed values, in words
	Help    string
}

// Settings returns all settings of the service's instances, in the order of help.
func (s Service) Settings() []Setting {
	var all []Setting
	own := strings.NewReplacer("{service}", s.Name, "{port}", strconv.Itoa(int(s.Port)))
	for field := range reflect.TypeFor[text]().Fields() {
		name, standard, _ := strings.Cut(field.Tag.Get("env"), ", default=")
		all = append(all, Setting{
			Name: name, Flag: field.Tag.Get("flag"), Default: standard + own.Replace(field.Tag.Get("auto")),
			Want: field.Tag.Get("want"), Help: field.Tag.Get("help"),
		})
	}
	return all
}

// Sources are where settings come from. An empty value counts as unset in each.
type Sources struct {
	Flags   map[string]string  // by the setting's name
	Environ envconfig.Lookuper // the process's environment, or a map in tests
	EnvFile string             // path; "" for none
}

// A Value is a setting with its value and the source of that: "--port", "environment", ".env.qa:3" or "default".
type Value struct {
	Setting
	Value, Source string
}

// Load reads and validates the settings of an instance of s; the highest source with a value wins. It returns all errors at once, a
// [SettingError] for each value that is not allowed, and the values even then.
func (s Service) Load(ctx context.Context, from Sources) (Config, []Value, error) {
	file, errs := from.envFile()
	flags := make(map[string]string)
	for _, setting := range s.Settings() {
		flags[setting.Name] = "--" + setting.Flag
	}
	var t text
	found := make(map[string]string) // source by name
	lookup := envconfig.LookuperFunc(func(name string) (string, bool) {
		value, source := from.Flags[name], flags[name]
		if value == "" {
			value, _ = from.Environ.Lookup(name)
			source = "environment"
		}
		if value == "" {
			value, source = file[name].value, fmt.Sprintf("%s:%d", from.EnvFile, file[name].line)
		}
		if value == "" {
			return "", false
		}
		found[name] = source
		return value, true
	})
	if err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: &t, Lookuper: lookup}); err != nil {
		return Config{}, nil, errors.Join(errs, err)
	}
	t.Traces = cmp.Or(t.Traces, from.traces())
	config, wrong := t.validate(s, found)
	return config, t.values(s, found), errors.Join(errs, wrong)
}

// traces is the default of TRACES: the standard variables, which are read from the environment alone, turn traces on and off.
func (s Sources) traces() string {
	get := func(name string) string {
		value, _ := s.Environ.Lookup(name)
		return value
	}
	if get("OTEL_EXPORTER_OTLP_ENDPOINT")+get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" || get("OTEL_TRACES_EXPORTER") == "none" || strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") {
		return "off"
	}
	return "otlp"
}

// envFile reads the env file, and rejects unknown settings: a misspelled one would silently do nothing.
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
			errs = append(errs, fmt.Errorf("%s:%d: unknown setting %s%s", s.EnvFile, l.line, l.name, nearest.Hint(l.name, known)))
		}
		byName[l.name] = l
	}
	return byName, errors.Join(errs...)
}

// names are the names of all settings, which do not depend on the service.
func names() []string {
	var all []string
	for _, s := range (Service{}).Settings() {
		all = append(all, s.Name)
	}
	return all
}

// values returns every setting with its value.
func (t text) values(s Service, found map[string]string) []Value {
	var all []Value
	v := reflect.ValueOf(t)
	for i, setting := range s.Settings() {
		all = append(all, Value{setting, v.Field(i).String(), cmp.Or(found[setting.Name], "default")})
	}
	return all
}
