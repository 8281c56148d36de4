package confedit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trivet/nginx"
)

// pair is two uses of a directive in one block.
type pair struct{ block, first, second string }

// repeatedPairs holds a pair for each directive of repeated; its two uses are for different things.
var repeatedPairs = map[string]pair{
	"access_log":             {"server", "access_log a.log", "access_log b.log"},
	"add_header":             {"server", "add_header A 1", "add_header B 1"},
	"add_trailer":            {"server", "add_trailer A 1", "add_trailer B 1"},
	"allow":                  {"server", "allow 127.0.0.1", "allow ::1"},
	"ancient_browser":        {"server", "ancient_browser a", "ancient_browser b"},
	"auth_request_set":       {"server", "auth_request_set $a 1", "auth_request_set $b 1"},
	"debug_connection":       {"events", "debug_connection 127.0.0.1", "debug_connection ::1"},
	"deny":                   {"server", "deny 127.0.0.1", "deny ::1"},
	"env":                    {"main", "env A=1", "env B"},
	"error_log":              {"server", "error_log a.log", "error_log b.log"},
	"error_page":             {"server", "error_page 404 /a", "error_page 502 /b"},
	"fastcgi_catch_stderr":   {"server", "fastcgi_catch_stderr a", "fastcgi_catch_stderr b"},
	"fastcgi_param":          {"server", "fastcgi_param A 1", "fastcgi_param B 1"},
	"grpc_set_header":        {"server", "grpc_set_header A 1", "grpc_set_header B 1"},
	"gzip_disable":           {"server", "gzip_disable a", "gzip_disable b"},
	"http2_push":             {"server", "http2_push /a", "http2_push /b"},
	"include":                {"server", "include a*.conf", "include b*.conf"},
	"limit_conn":             {"server", "limit_conn conn_a 1", "limit_conn conn_b 1"},
	"limit_conn_zone":        {"http", "limit_conn_zone $server_name zone=a:1m", "limit_conn_zone $server_name zone=b:1m"},
	"limit_req":              {"server", "limit_req zone=req_a burst=5", "limit_req burst=5 zone=req_b"},
	"limit_req_zone":         {"http", "limit_req_zone $server_name zone=a:1m rate=1r/s", "limit_req_zone $server_name zone=b:1m rate=1r/s"},
	"listen":                 {"server", "listen 127.0.0.1:PORT", "listen [::1]:PORT"},
	"log_format":             {"http", "log_format a $uri", "log_format b $uri"},
	"mirror":                 {"server", "mirror /a", "mirror /b"},
	"modern_browser":         {"server", "modern_browser msie 1.0", "modern_browser gecko 1.0"},
	"proxy_cookie_domain":    {"server", "proxy_cookie_domain a b", "proxy_cookie_domain b c"},
	"proxy_cookie_flags":     {"server", "proxy_cookie_flags a secure", "proxy_cookie_flags b secure"},
	"proxy_cookie_path":      {"server", "proxy_cookie_path /a /b", "proxy_cookie_path /b /c"},
	"proxy_redirect":         {"location", "proxy_redirect /a /b", "proxy_redirect /b /c"},
	"proxy_set_header":       {"server", "proxy_set_header A 1", "proxy_set_header B 1"},
	"rewrite":                {"server", "rewrite ^/a$ /b", "rewrite ^/c$ /d"},
	"scgi_param":             {"server", "scgi_param A 1", "scgi_param B 1"},
	"server":                 {"upstream", "server 127.0.0.1:2", "server 127.0.0.1:3"},
	"set":                    {"server", "set $a 1", "set $b 1"},
	"set_real_ip_from":       {"server", "set_real_ip_from 127.0.0.1", "set_real_ip_from ::1"},
	"ssl_certificate":        {"server", "ssl_certificate a.pem; ssl_certificate_key a.pem", "ssl_certificate b.pem; ssl_certificate_key b.pem"},
	"ssl_certificate_key":    {"server", "ssl_certificate_key a.pem; ssl_certificate a.pem", "ssl_certificate_key b.pem; ssl_certificate b.pem"},
	"ssl_conf_command":       {"server", "ssl_conf_command MinProtocol TLSv1.2", "ssl_conf_command Options -ServerPreference"},
	"ssl_session_ticket_key": {"server", "ssl_session_ticket_key a.key", "ssl_session_ticket_key b.key"},
	"sub_filter":             {"server", "sub_filter a b", "sub_filter c d"},
	"thread_pool":            {"main", "thread_pool a threads=1", "thread_pool b threads=1"},
	"uwsgi_param":            {"server", "uwsgi_param A 1", "uwsgi_param B 1"},
}

// notBuiltIn lists directives of modules that an nginx may lack; Debian packages each of these modules separately.
var notBuiltIn = []string{
	"auth_http_header", "geoip_proxy", "js_import", "js_path", "js_preload_object", "js_set", "js_shared_dict_zone", "js_var",
	"load_module", "lua_shared_dict", "perl_modules", "perl_require", "perl_set", "xslt_param", "xslt_string_param", "xslt_stylesheet",
}

// overridden holds directives that nginx accepts twice but a block needs once: each holds a whole list, or the last one wins.
var overridden = map[string]pair{
	"addition_types":        {"server", "addition_types a/b", "addition_types a/c"},
	"ancient_browser_value": {"server", "ancient_browser_value a", "ancient_browser_value b"},
	"break":                 {"server", "break", "break"},
	"charset_types":         {"server", "charset_types a/b", "charset_types a/c"},
	"dav_methods":           {"server", "dav_methods PUT", "dav_methods DELETE"},
	"grpc_ignore_headers":   {"server", "grpc_ignore_headers X-Accel-Charset", "grpc_ignore_headers X-Accel-Redirect"},
	"grpc_next_upstream":    {"server", "grpc_next_upstream error", "grpc_next_upstream timeout"},
	"grpc_ssl_protocols":    {"server", "grpc_ssl_protocols TLSv1.2", "grpc_ssl_protocols TLSv1.3"},
	"gzip_proxied":          {"server", "gzip_proxied expired", "gzip_proxied auth"},
	"gzip_types":            {"server", "gzip_types a/b", "gzip_types a/c"},
	"hash":                  {"upstream", "hash $uri", "hash $host"},
	"index":                 {"server", "index a", "index b"},
	"keepalive_disable":     {"server", "keepalive_disable msie6", "keepalive_disable safari"},
	"least_conn":            {"upstream", "least_conn", "least_conn"},
	"modern_browser_value":  {"server", "modern_browser_value a", "modern_browser_value b"},
	"proxy_cache_bypass":    {"server", "proxy_cache_bypass $arg_a", "proxy_cache_bypass $arg_b"},
	"proxy_next_upstream":   {"server", "proxy_next_upstream error", "proxy_next_upstream timeout"},
	"proxy_no_cache":        {"server", "proxy_no_cache $arg_a", "proxy_no_cache $arg_b"},
	"random":                {"upstream", "random", "random two"},
	"return":                {"server", "return 200", "return 404"},
	"server_name":           {"server", "server_name a", "server_name b"},
	"ssl_protocols":         {"server", "ssl_protocols TLSv1.2", "ssl_protocols TLSv1.3"},
	"ssl_session_cache":     {"server", "ssl_session_cache off", "ssl_session_cache none"},
	"ssi_types":             {"server", "ssi_types a/b", "ssi_types a/c"},
	"sub_filter_types":      {"server", "sub_filter_types a/b", "sub_filter_types a/c"},
	"valid_referers":        {"server", "valid_referers none a.example", "valid_referers blocked b.example"},
	"zone":                  {"upstream", "zone a 1m", "zone a 1m"},
}

// single holds directives of all kinds that nginx refuses to accept twice.
var single = map[string]pair{
	"auth_basic":           {"server", "auth_basic a", "auth_basic b"},
	"client_max_body_size": {"server", "client_max_body_size 1m", "client_max_body_size 2m"},
	"default_type":         {"server", "default_type a/b", "default_type a/c"},
	"expires":              {"server", "expires 1s", "expires 2s"},
	"grpc_pass":            {"location", "grpc_pass 127.0.0.1:2", "grpc_pass 127.0.0.1:3"},
	"grpc_read_timeout":    {"server", "grpc_read_timeout 1s", "grpc_read_timeout 2s"},
	"gzip":                 {"server", "gzip on", "gzip off"},
	"keepalive":            {"upstream", "keepalive 1", "keepalive 2"},
	"limit_conn_status":    {"server", "limit_conn_status 503", "limit_conn_status 429"},
	"limit_rate":           {"server", "limit_rate 1k", "limit_rate 2k"},
	"limit_req_status":     {"server", "limit_req_status 503", "limit_req_status 429"},
	"pid":                  {"main", "pid a.pid", "pid b.pid"},
	"proxy_bind":           {"server", "proxy_bind 127.0.0.1", "proxy_bind ::1"},
	"proxy_buffers":        {"server", "proxy_buffers 4 8k", "proxy_buffers 8 8k"},
	"proxy_cache":          {"server", "proxy_cache off", "proxy_cache off"},
	"proxy_http_version":   {"server", "proxy_http_version 1.0", "proxy_http_version 1.1"},
	"proxy_pass":           {"location", "proxy_pass http://127.0.0.1:2", "proxy_pass http://127.0.0.1:3"},
	"proxy_read_timeout":   {"server", "proxy_read_timeout 1s", "proxy_read_timeout 2s"},
	"real_ip_header":       {"server", "real_ip_header A", "real_ip_header B"},
	"resolver":             {"server", "resolver 127.0.0.1", "resolver ::1"},
	"root":                 {"server", "root a", "root b"},
	"satisfy":              {"server", "satisfy any", "satisfy all"},
	"server_tokens":        {"server", "server_tokens on", "server_tokens off"},
	"ssl_ciphers":          {"server", "ssl_ciphers HIGH", "ssl_ciphers LOW"},
	"try_files":            {"location", "try_files a b", "try_files c d"},
	"types_hash_max_size":  {"server", "types_hash_max_size 1024", "types_hash_max_size 2048"},
	"user":                 {"main", "user root", "user root"},
	"worker_connections":   {"events", "worker_connections 20", "worker_connections 30"},
	"worker_processes":     {"main", "worker_processes 1", "worker_processes 2"},
}

// families adds pairs of directives that differ only in their prefix.
func families() map[string]pair {
	all := maps.Clone(repeatedPairs)
	for _, prefix := range []string{"fastcgi", "grpc", "proxy", "scgi", "uwsgi"} {
		for _, what := range []string{"hide_header", "pass_header"} {
			name := prefix + "_" + what
			all[name] = pair{"server", name + " A", name + " B"}
		}
		if name := prefix + "_ssl_conf_command"; repeated[name] != nil {
			all[name] = pair{"server", name + " MinProtocol TLSv1.2", name + " Options -ServerPreference"}
		}
		if name := prefix + "_cache_path"; repeated[name] != nil {
			all[name] = pair{"http", name + " a keys_zone=a:1m", name + " b keys_zone=b:1m"}
			name := prefix + "_cache_valid"
			all[name] = pair{"server", name + " 200 1s", name + " 404 1s"}
		}
	}
	return all
}

// config returns a configuration with text in a block, and everything that the pairs need.
func (p pair) config(text string) string {
	c := "PID\nMAIN\nevents { EVENTS }\nhttp {\naccess_log off;\nlimit_conn_zone $uri zone=conn_a:1m; limit_conn_zone $uri zone=conn_b:1m;\n" +
		"limit_req_zone $uri zone=req_a:1m rate=1r/s; limit_req_zone $uri zone=req_b:1m rate=1r/s;\n" +
		"client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;\n" +
		"HTTP\nupstream u { server 127.0.0.1:1;\nUPSTREAM }\nserver { LISTEN\nSERVER\nlocation / { PASS\nLOCATION } } }\n"
	if p.block == "location" && strings.HasPrefix(p.first, "proxy_redirect") {
		c = strings.Replace(c, "PASS", "proxy_pass http://u;", 1)
	}
	if !strings.HasPrefix(p.first, "listen ") {
		c = strings.Replace(c, "LISTEN", "listen 127.0.0.1:PORT;", 1)
	}
	if !strings.HasPrefix(p.first, "pid ") {
		c = strings.Replace(c, "PID", "pid nginx.pid;", 1)
	}
	c = strings.Replace(c, strings.ToUpper(p.block), text, 1)
	for _, rest := range []string{"MAIN", "EVENTS", "HTTP", "UPSTREAM", "SERVER", "LOCATION", "PASS", "LISTEN", "PID"} {
		c = strings.Replace(c, rest, "", 1)
	}
	return c
}

// nginxSays returns nginx's complaint about a configuration, "" if it accepts it.
func nginxSays(t *testing.T, b nginx.Binary, text string) string {
	t.Helper()
	dir := t.TempDir()
	_, port, _ := strings.Cut(free(t), ":")
	write(t, filepath.Join(dir, "conf", "nginx.conf"), strings.ReplaceAll(text, "PORT", port))
	for _, name := range []string{"a", "b"} {
		write(t, filepath.Join(dir, "conf", name+".pem"), certificate(t))
		write(t, filepath.Join(dir, "conf", name+".key"), strings.Repeat(name, 80))
	}
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := b.Test(t.Context(), dir); err != nil {
		return err.Error()
	}
	return ""
}

// certificate returns a new self-signed certificate with its key.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE " + "KEY", Bytes: private}))
}

// TestRepeated checks that nginx accepts each repeated directive twice in one block, and that a second edit adds it.
func TestRepeated(t *testing.T) {
	t.Parallel()
	b := realNginx(t)
	pairs := families()
	for name := range repeated {
		if _, ok := pairs[name]; !ok && !slices.Contains(notBuiltIn, name) {
			t.Errorf("%s has no pair to test it with", name)
		}
	}
	for name, p := range pairs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if repeated[name] == nil {
				t.Error("not in repeated")
			}
			if said := nginxSays(t, b, p.config(p.first+";\n"+p.second+";")); said != "" {
				t.Error(said)
			}
			p.checkEdits(t, 2)
		})
	}
	for name, p := range overridden {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if repeated[name] != nil {
				t.Error("in repeated")
			}
			if said := nginxSays(t, b, p.config(p.first+";\n"+p.second+";")); said != "" {
				t.Error(said)
			}
			p.checkEdits(t, 1)
		})
	}
	for name, p := range single {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if repeated[name] != nil {
				t.Error("in repeated")
			}
			if said := nginxSays(t, b, p.config(p.first+";")); said != "" {
				t.Error(said)
			}
			if said := nginxSays(t, b, p.config(p.first+";\n"+p.second+";")); !strings.Contains(said, "is duplicate") {
				t.Errorf("nginx says %q", said)
			}
			p.checkEdits(t, 1)
		})
	}
}

// checkEdits makes both edits and checks how many directives of the name there are afterwards.
func (p pair) checkEdits(t *testing.T, want int) {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "nginx.conf")
	write(t, name, "block { other; }\n")
	first, _, _ := strings.Cut(p.first, ";")
	second, _, _ := strings.Cut(p.second, ";")
	if err := Apply(dir, []Edit{{Context: "block", Directive: first}, {Context: "block", Directive: second}}, nil); err != nil {
		t.Fatal(err)
	}
	directive, _, _ := strings.Cut(first, " ")
	body, err := parse("nginx.conf", read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for _, d := range body[0].body {
		if d.words[0].text == directive {
			got++
		}
	}
	if got != want {
		t.Errorf("after both edits there are %d %s, want %d:\n%s", got, directive, want, read(t, name))
	}
}

func TestRepeatedDirectiveIsReplacedOrAdded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, before, directive, after, refused string }{
		{"rate limit of the same zone", "limit_req zone=a burst=5; limit_req zone=b;", "limit_req burst=9 zone=a", "limit_req burst=9 zone=a; limit_req zone=b;", ""},
		{"zone of the same name, other key", "limit_req_zone $uri zone=a:1m rate=1r/s;", "limit_req_zone $host zone=a:2m rate=2r/s", "limit_req_zone $host zone=a:2m rate=2r/s;", ""},
		{"zone of another name, same key", "limit_conn_zone $uri zone=a:1m;", "limit_conn_zone $uri zone=b:1m", "limit_conn_zone $uri zone=a:1m; limit_conn_zone $uri zone=b:1m;", ""},
		{"connection limit of the same zone", "limit_conn a 1; limit_conn b 1;", "limit_conn b 2", "limit_conn a 1; limit_conn b 2;", ""},
		{"variable of the environment", "env A=1; env B;", "env A=2", "env A=2; env B;", ""},
		{"second certificate", "ssl_certificate rsa.pem;", "ssl_certificate ecdsa.pem", "ssl_certificate rsa.pem; ssl_certificate ecdsa.pem;", ""},
		{"log to the same file", "access_log a; access_log b;", "access_log b main buffer=1k", "access_log a; access_log b main buffer=1k;", ""},
		{"second log", "access_log a;", "access_log b", "access_log a; access_log b;", ""},
		{"off in place of one", "access_log a;", "access_log off", "access_log off;", ""},
		{"file replaces off", "access_log off;", "access_log a", "access_log a;", ""},
		{"off in place of off", "access_log off;", "access_log off", "access_log off;", ""},
		{"off where there is none", "x;", "access_log off", "access_log off; x;", ""},
		{"off in place of several", "access_log a; access_log b;", "access_log off", "", `directive "access_log off;" could replace any of 2 in http (nginx.conf:1): nginx.conf:2, nginx.conf:3: remove those first`},
		{"twice the same", "add_header A 1; add_header A 2;", "add_header A 3", "", `directive "add_header A 3;" could replace any of 2 in http (nginx.conf:1): nginx.conf:2, nginx.conf:3: remove all but one first`},
		{"another code", "error_page 404 /a;", "error_page 502 503 /b", "error_page 404 /a; error_page 502 503 /b;", ""},
		{"codes from the same on", "error_page 502 503 /a;", "error_page 502 =200 /b", "error_page 502 =200 /b;", ""},
		{"code that another directive has", "error_page 404 /x; error_page 500 502 503 =200 /a;", "error_page 429 502 /b", "",
			`directive "error_page 429 502 /b;" would have no effect for 502: nginx.conf:3 comes before it; set or remove that one, error_page 500`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			name := filepath.Join(t.TempDir(), "nginx.conf")
			write(t, name, "http {\n"+strings.ReplaceAll(c.before, "; ", ";\n")+"\n}\n")
			err := Apply(filepath.Dir(name), []Edit{{Context: "http", Directive: c.directive}}, nil)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("got %v\nwant %s", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			body, err := parse("nginx.conf", read(t, name))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range body[0].body {
				got = append(got, strings.Join(texts(d.words), " ")+";")
			}
			if text := strings.Join(got, " "); text != c.after {
				t.Errorf("got  %s\nwant %s", text, c.after)
			}
		})
	}
}
