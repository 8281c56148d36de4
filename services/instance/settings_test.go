package instance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"
)

// load loads a configuration from environment variables only.
func load(t *testing.T, environ map[string]string) (Config, error) {
	t.Helper()
	c, _, err := fixture.Load(t.Context(), Sources{Environ: envconfig.MapLookuper(environ)})
	return c, err
}

func hostname(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := load(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTPAddr() != "127.0.0.1:8000" || c.GRPCAddr() != "127.0.0.1:9000" || c.Instance != hostname(t) || c.AdminAddr() != "127.0.0.1:7000" ||
		c.Environment != "dev" || !c.Reflection || c.DrainTimeout.Seconds() != 10 || c.DrainDelay != 0 || c.LogFormat != "text" {
		t.Errorf("%+v", c)
	}
}

func TestUnsetSettingsAreDerived(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		environ map[string]string
		has     func(Config) bool
	}{
		{"gRPC is HTTP + 1000", map[string]string{"HTTP_PORT": "8002"}, func(c Config) bool { return c.GRPCPort == 9002 }},
		{"unless set", map[string]string{"HTTP_PORT": "8002", "GRPC_PORT": "7"}, func(c Config) bool { return c.GRPCPort == 7 }},
		{"8000, the port of each pod, is the hostname", map[string]string{"HTTP_PORT": "8000", "BIND": "0.0.0.0", "NODE": "node-a"}, func(c Config) bool { return c.Instance == hostname(t) && c.Node == "node-a" }},
		{"8001 is whoami-1", map[string]string{"HTTP_PORT": "8001"}, func(c Config) bool { return c.Instance == "whoami-1" }},
		{"8060 is whoami-60", map[string]string{"HTTP_PORT": "8060"}, func(c Config) bool { return c.Instance == "whoami-60" }},
		{"8061 is the hostname", map[string]string{"HTTP_PORT": "8061"}, func(c Config) bool { return c.Instance == hostname(t) }},
		{"admin is HTTP - 1000", map[string]string{"HTTP_PORT": "8002"}, func(c Config) bool { return c.AdminPort == 7002 }},
		{"for 8xxx alone", map[string]string{"HTTP_PORT": "9000"}, func(c Config) bool { return c.AdminPort == 0 && c.AdminAddr() == "" }},
		{"unless set", map[string]string{"HTTP_PORT": "9000", "ADMIN_PORT": "9"}, func(c Config) bool { return c.AdminPort == 9 }},
		{"unless off", map[string]string{"ADMIN_PORT": "off"}, func(c Config) bool { return c.AdminPort == 0 }},
		{"admin stays on loopback", map[string]string{"BIND": "0.0.0.0"}, func(c Config) bool { return c.AdminAddr() == "127.0.0.1:7000" }},
		{"no node", nil, func(c Config) bool { return c.Node == "" }},
		{"a node as long as Kubernetes allows", map[string]string{"NODE": strings.Repeat("n", 253)}, func(c Config) bool { return len(c.Node) == 253 }},
		{"records to standard output", map[string]string{"RECORDS": "stdout"}, func(c Config) bool { return c.Records == RecordsToStdout }},
		{"no records", map[string]string{"RECORDS": "off"}, func(c Config) bool { return c.Records == "" }},
		{"start ID is random", nil, func(c Config) bool { return len(c.StartID) == 13 && isID(c.StartID) }},
		{"start ID is set", map[string]string{"START_ID": "second"}, func(c Config) bool { return c.StartID == "second" }},
		{"tuning is off", nil, func(c Config) bool { return c.GOGC == 100 && !c.RawSyscalls && c.StreamWorkers == 0 && c.FixedWindows }},
		{"reflection is off in prod", map[string]string{"ENVIRONMENT": "prod"}, func(c Config) bool { return !c.Reflection }},
		{"on in qa", map[string]string{"ENVIRONMENT": "qa"}, func(c Config) bool { return c.Reflection }},
		{"on in prod if set", map[string]string{"ENVIRONMENT": "prod", "REFLECTION": "true"}, func(c Config) bool { return c.Reflection }},
		{"off in dev if set", map[string]string{"REFLECTION": "false"}, func(c Config) bool { return !c.Reflection }},
		{"empty counts as unset", map[string]string{"HTTP_PORT": "", "LOG_LEVEL": ""}, func(c Config) bool { return c.HTTPPort == 8000 }},
		{"IPv6", map[string]string{"BIND": "::1"}, func(c Config) bool { return c.HTTPAddr() == "[::1]:8000" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if c, err := load(t, test.environ); err != nil || !test.has(c) {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
}

// Two starts with the same settings have different IDs.
func TestStartsHaveDifferentIDs(t *testing.T) {
	t.Parallel()
	first, err := load(t, nil)
	second, again := load(t, nil)
	if err != nil || again != nil || first.StartID == second.StartID {
		t.Errorf("%q and %q, %v, %v", first.StartID, second.StartID, err, again)
	}
}

func TestInvalidSettingIsRejected(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		environ map[string]string
		want    string
	}{
		{map[string]string{"HTTP_PORT": "0"}, "HTTP_PORT=0 (environment): want a port, 1 to 65535"},
		{map[string]string{"HTTP_PORT": "70000"}, "HTTP_PORT=70000 (environment): want a port, 1 to 65535"},
		{map[string]string{"HTTP_PORT": "-1"}, "HTTP_PORT=-1 (environment): want a port, 1 to 65535"},
		{map[string]string{"HTTP_PORT": "banana"}, "HTTP_PORT=banana (environment): want a port, 1 to 65535"},
		{map[string]string{"GRPC_PORT": "x"}, "GRPC_PORT=x (environment): want a port, 1 to 65535, other than HTTP_PORT"},
		{map[string]string{"HTTP_PORT": "1", "GRPC_PORT": "1"}, "GRPC_PORT=1 (environment): want a port other than HTTP_PORT: the listeners cannot share one"},
		{map[string]string{"ADMIN_PORT": "8000"}, "ADMIN_PORT=8000 (environment): want a port, 1 to 65535, other than HTTP_PORT and GRPC_PORT, or off"},
		{map[string]string{"ADMIN_PORT": "x"}, "ADMIN_PORT=x (environment): want a port, 1 to 65535, other than HTTP_PORT and GRPC_PORT, or off"},
		{map[string]string{"ADMIN_BIND": "localhost"}, "ADMIN_BIND=localhost (environment): want an IP address"},
		{map[string]string{"ADMIN_PORT": "off", "PPROF": "true"}, "PPROF=true (environment): want false, or ADMIN_PORT set: the admin listener serves the profiles, and it is off"},
		{map[string]string{"READ_TIMEOUT": "0s"}, "READ_TIMEOUT=0s (environment): want a duration, 100ms to 10m, like 500ms or 5s"},
		{map[string]string{"CALL_TIMEOUT": "1h"}, "CALL_TIMEOUT=1h (environment): want a duration, 100ms to 10m, like 500ms or 5s"},
		{map[string]string{"MAX_CONNECTIONS": "0"}, "MAX_CONNECTIONS=0 (environment): want a number, 1 to 1000000"},
		{map[string]string{"HOPS_HTTP": "localhost:8080"}, "HOPS_HTTP=localhost:8080 (environment): want a URL, http:// or https:// with a host and no path, or off"},
		{map[string]string{"HOPS_HTTP": "http://localhost:8080/front"}, "HOPS_HTTP=http://localhost:8080/front (environment): want a URL, http:// or https:// with a host and no path, or off"},
		{map[string]string{"HOPS_GRPC": "localhost"}, "HOPS_GRPC=localhost (environment): want host:port, for TLS with https:// before it, or off"},
		{map[string]string{"HOPS_GRPC": "http://localhost:9090"}, "HOPS_GRPC=http://localhost:9090 (environment): want host:port, for TLS with https:// before it, or off"},
		{map[string]string{"MAX_WORK": "11m"}, "MAX_WORK=11m (environment): want a duration, 0s to 10m, like 500ms or 5s"},
		{map[string]string{"MAX_CALLS": "-1"}, "MAX_CALLS=-1 (environment): want a number, 1 to 1000000"},
		{map[string]string{"GOGC": "off"}, "GOGC=off (environment): want a number, 10 to 10000"},
		{map[string]string{"STREAM_WORKERS": "9999"}, "STREAM_WORKERS=9999 (environment): want a number, 0 to 1024"},
		{map[string]string{"RAW_SYSCALLS": "1"}, "RAW_SYSCALLS=1 (environment): want true or false"},
		{map[string]string{"FIXED_WINDOWS": "" + "on"}, "FIXED_WINDOWS=on (environment): want true or false"},
		{map[string]string{"TLS_CALLERS": "nginx"}, "TLS_CALLERS=nginx (environment): want SPIFFE IDs separated by commas, each maybe with a * at its end, like spiffe://trivet/nginx,spiffe://trivet/client/*"},
		{map[string]string{"TLS_MIN_VERSION": "1.1"}, "TLS_MIN_VERSION=1.1 (environment): want 1.2 or 1.3"},
		{map[string]string{"TLS_CERT": "c", "TLS_KEY": "k"}, "TLS_CA=off (default): want a file: TLS_CERT, TLS_KEY and TLS_CA are all set, or none"},
		{
			map[string]string{"TLS_CERT": "off", "TLS_KEY": "/no/k", "TLS_CA": "/no/c"},
			"TLS_CERT=off (environment): want a file: TLS_CERT, TLS_KEY and TLS_CA are all set, or none",
		},
		{
			map[string]string{"TLS_CERT": "/no/c", "TLS_KEY": "/no/k", "TLS_CA": "settings.go"}, "TLS_CERT=/no/c (environment): want a PEM file with a certificate that has a SPIFFE ID, and its chain; set with TLS_KEY and TLS_CA, or off (open /no/c: no such file or directory)\n" +
				"TLS_KEY=/no/k (environment): want the PEM file with the key of TLS_CERT, maybe the same file, or off (open /no/k: no such file or directory)\n" +
				"TLS_CA=settings.go (environment): want a PEM file with certificates of authorities, or off (no certificate in it)",
		},
		{map[string]string{"METRICS": "yes"}, "METRICS=yes (environment): want true, false, or classic: with classic histogram buckets too"},
		{map[string]string{"REQUEST_LOG": "yes"}, "REQUEST_LOG=yes (environment): want true or false"},
		{map[string]string{"HTTP_PORT": "65000"}, "GRPC_PORT=66000 (default): want a port, 1 to 65535: HTTP_PORT + 1000 is above that, so set GRPC_PORT too"},
		{map[string]string{"ENVIRONMENT": "mars"}, "ENVIRONMENT=mars (environment): want dev, qa or prod"},
		{map[string]string{"BIND": "localhost"}, "BIND=localhost (environment): want an IP address"},
		{map[string]string{"DRAIN_DELAY": "5"}, "DRAIN_DELAY=5 (environment): want a duration, 0s to 10m, like 500ms or 5s"},
		{map[string]string{"DRAIN_TIMEOUT": "-1s"}, "DRAIN_TIMEOUT=-1s (environment): want a duration, 0s to 10m, like 500ms or 5s"},
		{map[string]string{"LOG_LEVEL": "loud"}, "LOG_LEVEL=loud (environment): want debug, info, warn or error"},
		{map[string]string{"LOG_FORMAT": "xml"}, "LOG_FORMAT=xml (environment): want text or json"},
		{map[string]string{"REFLECTION": "yes"}, "REFLECTION=yes (environment): want true or false"},
		{map[string]string{"START_ID": "a b"}, "START_ID=a b (environment): want 1 to 64 of A-Z a-z 0-9 . _ -, or random"},
		{map[string]string{"RECORDS": "no/such/dir/r"}, "RECORDS=no/such/dir/r (environment): want a file that can be appended to, stdout, or off"},
		{map[string]string{"RECORDS": "."}, "RECORDS=. (environment): want a file that can be appended to, stdout, or off"},
		{map[string]string{"RECORDS": "no/stdout"}, "RECORDS=no/stdout (environment): want a file that can be appended to, stdout, or off"},
		{map[string]string{"NODE": "a/b"}, "NODE=a/b (environment): want 1 to 253 of A-Z a-z 0-9 . _ -"},
		{map[string]string{"INSTANCE": "a b"}, "INSTANCE=a b (environment): want 1 to 64 of A-Z a-z 0-9 . _ -"},
	} {
		t.Run(test.want, func(t *testing.T) {
			t.Parallel()
			if _, err := load(t, test.environ); err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestAllSettingErrorsAreReportedWithSource(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "qa.env")
	if err := os.WriteFile(file, []byte("ENVIRONMENT=mars\nHTTP_PROT=1\nlog level\nLOG_FORMAT=xml\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := fixture.Load(t.Context(), Sources{
		Flags: map[string]string{"HTTP_PORT": "banana"}, Environ: envconfig.MapLookuper(map[string]string{"BIND": "here"}), EnvFile: file,
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"HTTP_PORT=banana (--port): want a port, 1 to 65535",
		"BIND=here (environment): want an IP address",
		"ENVIRONMENT=mars (" + file + ":1): want dev, qa or prod",
		file + ":2: unknown setting HTTP_PROT: did you mean HTTP_PORT?",
		file + `:3: want NAME=value, have "log level"`,
		"LOG_FORMAT=xml (" + file + ":4): want text or json",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 6 {
		t.Errorf("%d errors, want 6:\n%v", n, err)
	}
	if wrong, ok := errors.AsType[SettingError](err); !ok || wrong.Name == "" {
		t.Errorf("no SettingError in the chain of %v", err)
	}
}

func TestFlagWinsOverEnvironmentOverFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a.env")
	if err := os.WriteFile(file, []byte("INSTANCE=file\nHTTP_PORT=1\nBIND=127.0.0.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, values, err := fixture.Load(context.Background(), Sources{
		Flags:   map[string]string{"INSTANCE": "flag"},
		Environ: envconfig.MapLookuper(map[string]string{"INSTANCE": "environment", "HTTP_PORT": "2"}),
		EnvFile: file,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"INSTANCE": "flag (--instance)", "HTTP_PORT": "2 (environment)", "BIND": "127.0.0.2 (" + file + ":3)",
		"GRPC_PORT": "1002 (default)", "LOG_LEVEL": "info (default)",
	}
	for _, v := range values {
		if w := want[v.Name]; w != "" && w != v.Value+" ("+v.Source+")" {
			t.Errorf("%s is %s (%s), want %s", v.Name, v.Value, v.Source, w)
		}
	}
}

func TestShippedEnvFilesAreValid(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"dev", "qa", "prod"} {
		c, _, err := fixture.Load(t.Context(), Sources{Environ: envconfig.MapLookuper(nil), EnvFile: "../../.env." + environment})
		if err != nil || c.Environment != environment {
			t.Errorf(".env.%s: %v, environment %q", environment, err, c.Environment)
		}
	}
}

// The example shows every setting, commented out; uncommented, it must load.
func TestExampleEnvFileHasEverySetting(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	var live strings.Builder
	shown := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(line, "="); ok && strings.HasPrefix(line, "#") && line[1] != ' ' {
			shown[name[1:]] = true
			live.WriteString(line[1:])
		}
	}
	for _, s := range fixture.Settings() {
		if !shown[s.Name] {
			t.Errorf(".env.example does not show %s", s.Name)
		}
	}
	file := filepath.Join(t.TempDir(), "live.env")
	if err := os.WriteFile(file, []byte(live.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := fixture.Load(t.Context(), Sources{Environ: envconfig.MapLookuper(nil), EnvFile: file}); err != nil {
		t.Error(err)
	}
}
