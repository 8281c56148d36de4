package confedit

import (
	"slices"
	"strings"
)

// repeated holds the directives of which a block can have several, each for something else, and how to identify what for. One of these
// replaces only one for the same thing, even where it meets a single other one. Every other directive replaces the one of its name: nginx
// refuses a second one, or lets it override the first, or it holds a whole list itself (server_name, ssl_protocols, gzip_types).
// TestRepeated compares both with nginx.
var repeated = func() map[string]func(*statement) string {
	all := map[string]func(*statement) string{
		"env": variableName, "js_shared_dict_zone": zoneName, "limit_conn_zone": zoneName, "limit_req": zoneName, "limit_req_zone": zoneName,
	}
	for name := range strings.FieldsSeq(byFirstArgument) {
		all[name] = firstArgument
	}
	return all
}()

const byFirstArgument = `
	access_log add_header add_trailer allow ancient_browser auth_http_header auth_request_set debug_connection deny error_log
	error_page fastcgi_cache_path fastcgi_cache_valid fastcgi_catch_stderr fastcgi_hide_header fastcgi_param fastcgi_pass_header
	geoip_proxy grpc_hide_header grpc_pass_header grpc_set_header grpc_ssl_conf_command gzip_disable http2_push include js_import
	js_path js_preload_object js_set js_var limit_conn listen load_module log_format lua_shared_dict mirror modern_browser
	perl_modules perl_require perl_set proxy_cache_path proxy_cache_valid proxy_cookie_domain proxy_cookie_flags proxy_cookie_path
	proxy_hide_header proxy_pass_header proxy_redirect proxy_set_header proxy_ssl_conf_command rewrite scgi_cache_path
	scgi_cache_valid scgi_hide_header scgi_param scgi_pass_header server set set_real_ip_from ssl_certificate ssl_certificate_key
	ssl_conf_command ssl_session_ticket_key sub_filter thread_pool uwsgi_cache_path uwsgi_cache_valid uwsgi_hide_header uwsgi_param
	uwsgi_pass_header uwsgi_ssl_conf_command xslt_param xslt_string_param xslt_stylesheet`

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
