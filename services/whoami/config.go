package whoami

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Config is what one instance runs by. Load makes it; the zero value is not usable.
type Config struct {
	Environment  string // dev, qa or prod
	Instance     string // [A-Za-z0-9._-]{1,64}
	Bind         netip.Addr
	HTTPPort     uint16
	GRPCPort     uint16
	DrainDelay   time.Duration
	DrainTimeout time.Duration
	LogLevel     slog.Level
	LogFormat    string // text or json
	Records      string // path; "" is off
	Reflection   bool
}

// HTTPAddr is where the REST door listens, host:port.
func (c Config) HTTPAddr() string { return netip.AddrPortFrom(c.Bind, c.HTTPPort).String() }

// GRPCAddr is where the gRPC door listens, host:port.
func (c Config) GRPCAddr() string { return netip.AddrPortFrom(c.Bind, c.GRPCPort).String() }

// derived is the value of a setting that nobody gave one and that has no fixed default.
func (c Config) derived(name string) string {
	switch name {
	case "INSTANCE":
		return c.Instance
	case "GRPC_PORT":
		return strconv.Itoa(int(c.GRPCPort))
	case "REFLECTION":
		return strconv.FormatBool(c.Reflection)
	}
	return ""
}

// A Fault is a setting whose value is not allowed.
type Fault struct {
	Name, Value, Source string
	Want                string // what is allowed, in words
}

// Error is like "HTTP_PORT=banana (.env.qa:3): want a port, 1 to 65535".
func (f Fault) Error() string {
	return fmt.Sprintf("%s=%s (%s): want %s", f.Name, f.Value, f.Source, f.Want)
}

// checker collects the faults of one configuration.
type checker struct {
	source map[string]string // by name; missing means default
	faults []error
}

// want reports name's value as a fault unless ok.
func (c *checker) want(ok bool, name, value string) {
	if ok {
		return
	}
	for _, s := range Settings() {
		if s.Name == name {
			c.fault(name, value, s.Want)
		}
	}
}

func (c *checker) fault(name, value, want string) {
	source := c.source[name]
	if source == "" {
		source = "default"
	}
	c.faults = append(c.faults, Fault{name, value, source, want})
}

// validate turns text into values, and tells every fault at once.
func (t text) validate(source map[string]string) (Config, error) {
	check := &checker{source: source}
	c := Config{
		Environment:  t.Environment,
		DrainDelay:   check.duration("DRAIN_DELAY", t.DrainDelay),
		DrainTimeout: check.duration("DRAIN_TIMEOUT", t.DrainTimeout),
		LogFormat:    t.LogFormat,
		Records:      t.Records,
	}
	check.want(t.Environment == "dev" || t.Environment == "qa" || t.Environment == "prod", "ENVIRONMENT", t.Environment)
	check.want(t.LogFormat == "text" || t.LogFormat == "json", "LOG_FORMAT", t.LogFormat)
	var err error
	c.Bind, err = netip.ParseAddr(t.Bind)
	check.want(err == nil, "BIND", t.Bind)
	c.LogLevel = check.level(t.LogLevel)
	c.HTTPPort = check.port("HTTP_PORT", t.HTTPPort)
	c.GRPCPort = check.grpcPort(t.GRPCPort, c.HTTPPort)
	c.Instance = t.Instance
	if c.Instance == "" {
		c.Instance = defaultInstance(c.HTTPPort)
	}
	check.want(isID(c.Instance), "INSTANCE", c.Instance)
	c.Reflection = check.reflection(t.Reflection, c.Environment)
	check.want(c.Records == "" || appendable(c.Records), "RECORDS", c.Records)
	return c, errors.Join(check.faults...)
}

// appendable tells whether a file can be appended to, or made, without making it.
func appendable(path string) bool {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		f.Close()
		return true
	}
	return errors.Is(err, fs.ErrNotExist) && unix.Access(filepath.Dir(path), unix.W_OK|unix.X_OK) == nil
}

// port is 0 for a value that is no port.
func (c *checker) port(name, value string) uint16 {
	port, err := strconv.ParseUint(value, 10, 16)
	c.want(err == nil && port > 0, name, value)
	if err != nil {
		return 0 // For a number that is too large, ParseUint gives the largest.
	}
	return uint16(port)
}

func (c *checker) grpcPort(value string, http uint16) uint16 {
	if value == "" {
		if http > 65535-1000 {
			c.fault("GRPC_PORT", fmt.Sprintf("%d", int(http)+1000), "a port, 1 to 65535: HTTP_PORT + 1000 is none, so set it too")
			return 0
		}
		return http + 1000
	}
	port := c.port("GRPC_PORT", value)
	if port != 0 && port == http {
		c.fault("GRPC_PORT", value, "a port other than HTTP_PORT, which is the same: each door has its own")
	}
	return port
}

func (c *checker) duration(name, value string) time.Duration {
	d, err := time.ParseDuration(value)
	c.want(err == nil && d >= 0 && d <= 10*time.Minute, name, value)
	return d
}

func (c *checker) level(value string) slog.Level {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[value]
	c.want(ok, "LOG_LEVEL", value)
	return level
}

func (c *checker) reflection(value, environment string) bool {
	if value == "" {
		return environment != "prod"
	}
	c.want(value == "true" || value == "false", "REFLECTION", value)
	return value == "true"
}

// defaultInstance follows the fleet's numbers: port 8001 is whoami-1, to 8060. Others are named by their port.
func defaultInstance(port uint16) string {
	if port > 8000 && port <= 8060 {
		port -= 8000
	}
	return "whoami-" + strconv.Itoa(int(port))
}
