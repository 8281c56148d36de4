package instance

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"trivet/services/identity"
)

// Config is the configuration of one instance. Use [Service.Load] to create it; the zero value is not usable.
type Config struct {
	Service        string // the name of the service
	Environment    string // dev, qa or prod
	Instance       string // [A-Za-z0-9._-]{1,64}
	Node           string // [A-Za-z0-9._-]{1,253}; "" is unknown
	Bind           netip.Addr
	HTTPPort       uint16
	GRPCPort       uint16
	AdminBind      netip.Addr
	AdminPort      uint16 // 0 is off
	PProf          bool
	Metrics        bool // with AdminPort
	ClassicBuckets bool // of its histograms, beside the native ones
	DrainDelay     time.Duration
	DrainTimeout   time.Duration
	ReadTimeout    time.Duration
	CallTimeout    time.Duration
	MaxConnections int              // per listener
	MaxCalls       int              // unary calls, and as many streams
	TLS            identity.Files   // zero is off
	TLSCallers     identity.Callers // that may call; with TLS
	TLSMinVersion  uint16           // tls.VersionTLS13 or tls.VersionTLS12
	HopsHTTP       string           // URL without a path; "" is off
	HopsGRPC       string           // host:port, or https://host:port; "" is off
	MaxWork        time.Duration
	LogLevel       slog.Level
	LogFormat      string // text or json
	RequestLog     bool
	Records        string // path, or RecordsToStdout; "" is off
	Traces         bool   // by OpenTelemetry
	StartID        string // [A-Za-z0-9._-]{1,64}
	Reflection     bool
	// Tuning with costs of its own: docs/performance.md.
	GOGC          int // percent
	RawSyscalls   bool
	StreamWorkers uint32
	FixedWindows  bool
}

// HTTPAddr returns the host:port of the HTTP listener.
func (c Config) HTTPAddr() string { return netip.AddrPortFrom(c.Bind, c.HTTPPort).String() }

// GRPCAddr returns the host:port of the gRPC listener.
func (c Config) GRPCAddr() string { return netip.AddrPortFrom(c.Bind, c.GRPCPort).String() }

// AdminAddr returns the host:port of the admin listener, or "" if it is off.
func (c Config) AdminAddr() string {
	if c.AdminPort == 0 {
		return ""
	}
	return netip.AddrPortFrom(c.AdminBind, c.AdminPort).String()
}

// A SettingError reports a setting with a value that is not allowed.
type SettingError struct {
	Name, Value, Source string
	Want                string // allowed values, in words
}

// Error returns a message like "HTTP_PORT=banana (.env.qa:3): want a port, 1 to 65535".
func (e SettingError) Error() string {
	return fmt.Sprintf("%s=%s (%s): want %s", e.Name, e.Value, e.Source, e.Want)
}

// checker collects the errors of one configuration.
type checker struct {
	source map[string]string // by name; missing means default
	errs   []error
}

// want adds an error about name's value unless ok.
func (c *checker) want(ok bool, name, value string) {
	if !ok {
		c.wrong(name, value, settingOf(name).Want)
	}
}

func settingOf(name string) Setting { return Service{}.Settings()[slices.Index(names(), name)] }

func (c *checker) wrong(name, value, want string) {
	c.errs = append(c.errs, SettingError{name, value, cmp.Or(c.source[name], "default"), want})
}

// validate converts text to values and reports all errors at once. It sets the settings that are derived, also in text.
func (t *text) validate(s Service, source map[string]string) (Config, error) {
	check := &checker{source: source}
	c := Config{Service: s.Name, Environment: t.Environment, LogFormat: t.LogFormat, StartID: t.StartID}
	check.want(t.Environment == "dev" || t.Environment == "qa" || t.Environment == "prod", "ENVIRONMENT", t.Environment)
	check.want(t.LogFormat == "text" || t.LogFormat == "json", "LOG_FORMAT", t.LogFormat)
	c.LogLevel = check.level(t.LogLevel)
	c.RequestLog = check.boolean("REQUEST_LOG", t.RequestLog)
	t.listeners(s, check, &c)
	t.bounds(check, &c)
	t.tls(check, &c)
	t.tuning(check, &c)
	t.hops(check, &c)
	t.Reflection = cmp.Or(t.Reflection, strconv.FormatBool(t.Environment != "prod"))
	c.Reflection = check.boolean("REFLECTION", t.Reflection)
	if t.Records = cmp.Or(t.Records, "off"); t.Records != "off" {
		c.Records = t.Records
		check.want(c.Records == RecordsToStdout || appendable(c.Records), "RECORDS", c.Records)
	}
	c.Traces = t.Traces == "otlp"
	check.want(c.Traces || t.Traces == "off", "TRACES", t.Traces)
	if c.StartID == "random" {
		c.StartID = rand.Text()[:13] // 65 bits
	}
	check.want(isID(c.StartID), "START_ID", c.StartID)
	return c, errors.Join(check.errs...)
}

// listeners validates addresses and ports, and the instance's name, which may be derived from them.
func (t *text) listeners(s Service, check *checker, c *Config) {
	c.Bind = check.address("BIND", t.Bind)
	t.HTTPPort = cmp.Or(t.HTTPPort, strconv.Itoa(int(s.Port)))
	c.HTTPPort = check.port("HTTP_PORT", t.HTTPPort)
	c.GRPCPort = check.grpcPort(t.GRPCPort, c.HTTPPort)
	t.GRPCPort = cmp.Or(t.GRPCPort, strconv.Itoa(int(c.GRPCPort)))
	if t.AdminBind == "" {
		t.AdminBind = "127.0.0.1"
		if c.Bind.IsLoopback() {
			t.AdminBind = c.Bind.String()
		}
	}
	c.AdminBind = check.address("ADMIN_BIND", t.AdminBind)
	c.AdminPort = check.adminPort(t.AdminPort, *c)
	if t.AdminPort == "" {
		t.AdminPort = "off"
		if c.AdminPort != 0 {
			t.AdminPort = strconv.Itoa(int(c.AdminPort))
		}
	}
	c.Metrics, c.ClassicBuckets = t.Metrics == "true" || t.Metrics == "classic", t.Metrics == "classic"
	check.want(c.Metrics || t.Metrics == "false", "METRICS", t.Metrics)
	c.PProf = check.boolean("PPROF", t.PProf)
	if c.PProf && t.AdminPort == "off" && c.HTTPPort != 0 {
		check.wrong("PPROF", t.PProf, "false, or ADMIN_PORT set: the admin listener serves the profiles, and it is off")
	}
	t.Instance = cmp.Or(t.Instance, s.defaultInstance(c.HTTPPort))
	c.Instance = t.Instance
	check.want(isID(c.Instance), "INSTANCE", c.Instance)
	c.Node = t.Node
	check.want(c.Node == "" || isWord(c.Node, maxNode), "NODE", c.Node)
}

// bounds validates the timeouts and limits that clients are subject to.
func (t *text) bounds(check *checker, c *Config) {
	const least, most = 100 * time.Millisecond, 10 * time.Minute
	c.DrainDelay = check.duration("DRAIN_DELAY", t.DrainDelay, 0, most)
	c.DrainTimeout = check.duration("DRAIN_TIMEOUT", t.DrainTimeout, 0, most)
	c.ReadTimeout = check.duration("READ_TIMEOUT", t.ReadTimeout, least, most)
	c.CallTimeout = check.duration("CALL_TIMEOUT", t.CallTimeout, least, most)
	c.MaxConnections = check.number("MAX_CONNECTIONS", t.MaxConnections, 1, 1_000_000)
	c.MaxCalls = check.number("MAX_CALLS", t.MaxCalls, 1, 1_000_000)
}

// tls validates the files and callers of mutual TLS. Files are all set, or none.
func (t *text) tls(check *checker, c *Config) {
	var err error
	c.TLSCallers, err = identity.ParseCallers(t.TLSCallers)
	check.want(err == nil, "TLS_CALLERS", t.TLSCallers)
	c.TLSMinVersion = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[t.TLSMinVersion]
	check.want(c.TLSMinVersion != 0, "TLS_MIN_VERSION", t.TLSMinVersion)
	files := []struct{ name, field, value string }{{"TLS_CERT", "Cert", t.TLSCert}, {"TLS_KEY", "Key", t.TLSKey}, {"TLS_CA", "CA", t.TLSCA}}
	set := 0
	for _, f := range files {
		if f.value != "" && f.value != "off" {
			set++
		}
	}
	t.TLSCert, t.TLSKey, t.TLSCA = cmp.Or(t.TLSCert, "off"), cmp.Or(t.TLSKey, "off"), cmp.Or(t.TLSCA, "off")
	if set == 0 {
		return
	}
	if set < len(files) {
		for _, f := range files {
			if f.value == "" || f.value == "off" {
				check.wrong(f.name, "off", "a file: TLS_CERT, TLS_KEY and TLS_CA are all set, or none")
			}
		}
		return
	}
	c.TLS = identity.Files{Cert: t.TLSCert, Key: t.TLSKey, CA: t.TLSCA}
	for _, err := range unjoin(c.TLS.Check()) {
		for _, f := range files {
			if file, ok := errors.AsType[*identity.FileError](err); ok && file.Field == f.field {
				check.wrong(f.name, f.value, fmt.Sprintf("%s (%v)", settingOf(f.name).Want, file.Err))
			}
		}
	}
}

// unjoin returns the errors that errors.Join joined.
func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return nil
}

// hops validates where the service calls others, and what requests may ask of it.
func (t *text) hops(check *checker, c *Config) {
	if t.HopsHTTP = cmp.Or(t.HopsHTTP, "off"); t.HopsHTTP != "off" {
		c.HopsHTTP = strings.TrimSuffix(t.HopsHTTP, "/")
		u, err := url.Parse(c.HopsHTTP)
		check.want(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && c.HopsHTTP == u.Scheme+"://"+u.Host, "HOPS_HTTP", t.HopsHTTP)
	}
	if t.HopsGRPC = cmp.Or(t.HopsGRPC, "off"); t.HopsGRPC != "off" {
		c.HopsGRPC = t.HopsGRPC
		host, port, err := net.SplitHostPort(strings.TrimPrefix(c.HopsGRPC, "https://"))
		_, numeric := strconv.ParseUint(port, 10, 16)
		check.want(err == nil && host != "" && numeric == nil, "HOPS_GRPC", t.HopsGRPC)
	}
	if t.MaxWork == "" {
		t.MaxWork = "1s"
		if t.Environment == "prod" {
			t.MaxWork = "0s"
		}
	}
	c.MaxWork = check.duration("MAX_WORK", t.MaxWork, 0, 10*time.Minute)
}

// tuning validates the settings that trade memory, generality or latency for CPU time.
func (t *text) tuning(check *checker, c *Config) {
	c.GOGC = check.number("GOGC", t.GOGC, 10, 10_000)
	c.RawSyscalls = check.boolean("RAW_SYSCALLS", t.RawSyscalls)
	c.StreamWorkers = uint32(check.number("STREAM_WORKERS", t.StreamWorkers, 0, 1024))
	c.FixedWindows = check.boolean("FIXED_WINDOWS", t.FixedWindows)
}

// appendable reports whether a file can be appended to or created, without creating it. It does not open a FIFO,
// because closing it would show the reader end of file.
func appendable(path string) bool {
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		return unix.Access(path, unix.W_OK) == nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		f.Close()
		return true
	}
	return errors.Is(err, fs.ErrNotExist) && unix.Access(filepath.Dir(path), unix.W_OK|unix.X_OK) == nil
}

func (c *checker) address(name, value string) netip.Addr {
	address, err := netip.ParseAddr(value)
	c.want(err == nil, name, value)
	return address
}

// port returns 0 for a value that is not a port.
func (c *checker) port(name, value string) uint16 {
	port, err := strconv.ParseUint(value, 10, 16)
	c.want(err == nil && port > 0, name, value)
	if err != nil {
		return 0 // ParseUint returns the maximum for a number that is too large.
	}
	return uint16(port)
}

func (c *checker) grpcPort(value string, http uint16) uint16 {
	if value == "" {
		if http > 65535-1000 {
			c.wrong("GRPC_PORT", fmt.Sprintf("%d", int(http)+1000), "a port, 1 to 65535: HTTP_PORT + 1000 is above that, so set GRPC_PORT too")
			return 0
		}
		return http + 1000
	}
	port := c.port("GRPC_PORT", value)
	if port != 0 && port == http {
		c.wrong("GRPC_PORT", value, "a port other than HTTP_PORT: the listeners cannot share one")
	}
	return port
}

// adminPort returns 0 if the admin listener is off. Only HTTP ports 8000 to 8999 have one by default: elsewhere the port
// 1000 below may belong to another program.
func (c *checker) adminPort(value string, others Config) uint16 {
	switch {
	case value == "off":
		return 0
	case value == "" && others.HTTPPort >= 8000 && others.HTTPPort < 9000 && others.HTTPPort-1000 != others.GRPCPort:
		return others.HTTPPort - 1000
	case value == "":
		return 0
	}
	port := c.port("ADMIN_PORT", value)
	c.want(port == 0 || port != others.HTTPPort && port != others.GRPCPort, "ADMIN_PORT", value)
	return port
}

func (c *checker) duration(name, value string, least, most time.Duration) time.Duration {
	d, err := time.ParseDuration(value)
	c.want(err == nil && d >= least && d <= most, name, value)
	return d
}

func (c *checker) number(name, value string, least, most int) int {
	n, err := strconv.Atoi(value)
	c.want(err == nil && n >= least && n <= most, name, value)
	return n
}

func (c *checker) boolean(name, value string) bool {
	c.want(value == "true" || value == "false", name, value)
	return value == "true"
}

func (c *checker) level(value string) slog.Level {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[value]
	c.want(ok, "LOG_LEVEL", value)
	return level
}

// maxNode is the longest name of a node in bytes, as Kubernetes allows it.
const maxNode = 253

// mostNumbered is how many instances of a service have names by their ports.
const mostNumbered = 60

// defaultInstance follows the fleet's numbering: of whoami, port 8001 is whoami-1, up to 8060. Other ports do not identify an
// instance (in a cluster all instances use the same one), so the hostname does.
func (s Service) defaultInstance(port uint16) string {
	if port > s.Port && port <= s.Port+mostNumbered {
		return fmt.Sprintf("%s-%d", s.Name, port-s.Port)
	}
	if hostname, err := os.Hostname(); err == nil && isID(hostname) {
		return hostname
	}
	return fmt.Sprintf("%s-%d", s.Name, port)
}
