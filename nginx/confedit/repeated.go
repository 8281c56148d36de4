package confedit

import (
	"slices"
	"strings"
)

// repeated holds the directives of which a block can have several, each for something else, and how to identify what for. One of these
// replaces only one for the same thing, even where it meets a single other one. Every other directive replaces the one of its name: nginx
// refuses a second one, or lets it override the first, or it holds a whole list itself (server_name, ssl_protocols, gzip_types).
// TestRepeated compares both with nginx.
var repeated = map[string]func(*statement) string{
	"access_log":             firstArgument,
	"add_header":             firstArgument,
	"add_trailer":            firstArgument,
	"allow":                  firstArgument,
	"ancient_browser":        firstArgument,
	"auth_http_header":       firstArgument,
	"auth_request_set":       firstArgument,
	"debug_connection":       firstArgument,
	"deny":                   firstArgument,
	"env":                    variableName,
	"error_log":              firstArgument,
	"error_page":             firstArgument,
	"fastcgi_cache_path":     firstArgument,
	"fastcgi_cache_valid":    firstArgument,
	"fastcgi_catch_stderr":   firstArgument,
	"fastcgi_hide_header":    firstArgument,
	"fastcgi_param":          firstArgument,
	"fastcgi_pass_header":    firstArgument,
	"geoip_proxy":            firstArgument,
	"grpc_hide_header":       firstArgument,
	"grpc_pass_header":       firstArgument,
	"grpc_set_header":        firstArgument,
	"grpc_ssl_conf_command":  firstArgument,
	"gzip_disable":           firstArgument,
	"http2_push":             firstArgument,
	"include":                firstArgument,
	"js_import":              firstArgument,
	"js_path":                firstArgument,
	"js_preload_object":      firstArgument,
	"js_set":                 firstArgument,
	"js_shared_dict_zone":    zoneName,
	"js_var":                 firstArgument,
	"limit_conn":             firstArgument,
	"limit_conn_zone":        zoneName,
	"limit_req":              zoneName,
	"limit_req_zone":         zoneName,
	"listen":                 firstArgument,
	"load_module":            firstArgument,
	"log_format":             firstArgument,
	"lua_shared_dict":        firstArgument,
	"mirror":                 firstArgument,
	"modern_browser":         firstArgument,
	"perl_modules":           firstArgument,
	"perl_require":           firstArgument,
	"perl_set":               firstArgument,
	"proxy_cache_path":       firstArgument,
	"proxy_cache_valid":      firstArgument,
	"proxy_cookie_domain":    firstArgument,
	"proxy_cookie_flags":     firstArgument,
	"proxy_cookie_path":      firstArgument,
	"proxy_hide_header":      firstArgument,
	"proxy_pass_header":      firstArgument,
	"proxy_redirect":         firstArgument,
	"proxy_set_header":       firstArgument,
	"proxy_ssl_conf_command": firstArgument,
	"rewrite":                firstArgument,
	"scgi_cache_path":        firstArgument,
	"scgi_cache_valid":       firstArgument,
	"scgi_hide_header":       firstArgument,
	"scgi_param":             firstArgument,
	"scgi_pass_header":       firstArgument,
	"server":                 firstArgument,
	"set":                    firstArgument,
	"set_real_ip_from":       firstArgument,
	"ssl_certificate":        firstArgument,
	"ssl_certificate_key":    firstArgument,
	"ssl_conf_command":       firstArgument,
	"ssl_session_ticket_key": firstArgument,
	"sub_filter":             firstArgument,
	"thread_pool":            firstArgument,
	"uwsgi_cache_path":       firstArgument,
	"uwsgi_cache_valid":      firstArgument,
	"uwsgi_hide_header":      firstArgument,
	"uwsgi_param":            firstArgument,
	"uwsgi_pass_header":      firstArgument,
	"uwsgi_ssl_conf_command": firstArgument,
	"xslt_param":             firstArgument,
	"xslt_string_param":      firstArgument,
	"xslt_stylesheet":        firstArgument,
}

// firstArgument identifies most directives: it is the header, path or address that they are for.
func firstArgument(d *statement) string {
	if len(d.words) < 2 {
		return ""
	}
	return d.words[1].text
}

// variableName returns NAME of "env NAME=value".
func variableName(d *statement) string {
	name, _, _ := strings.Cut(firstArgument(d), "=")
	return name
}

// zoneName returns NAME of "zone=NAME:size", which may stand anywhere among the arguments.
func zoneName(d *statement) string {
	for _, w := range d.words[1:] {
		if zone, ok := strings.CutPrefix(w.text, "zone="); ok {
			name, _, _ := strings.Cut(zone, ":")
			return name
		}
	}
	return firstArgument(d)
}

// off reports whether d switches off what others of its name do: "access_log off". Both together make no sense: nginx refuses them, or
// the others have no effect.
func (d *statement) off() bool {
	return len(d.words) == 2 && d.words[1].text == "off"
}

// hides returns the error_page of n that has a status code of d already, and that code. nginx takes the first for a code, so that d after
// it would change nothing.
func (n *node) hides(d *statement) (code string, earlier *statement) {
	for _, other := range n.parts {
		if d.words[0].text != "error_page" || other.words[0].text != "error_page" || other.block {
			continue
		}
		for _, code := range d.codes() {
			if slices.Contains(other.codes(), code) {
				return code, other
			}
		}
	}
	return "", nil
}

// codes returns the status codes of an error_page, which stand before the optional "=RESPONSE" and the URI.
func (d *statement) codes() []string {
	var codes []string
	for _, w := range d.words[1 : max(2, len(d.words))-1] {
		if !strings.HasPrefix(w.text, "=") {
			codes = append(codes, w.text)
		}
	}
	return codes
}
