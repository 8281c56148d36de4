//go:build slow

package nginx

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const jwtSecret = "a-secret-of-thirty-two-characters"

// fetched runs nginx/fetch with an option, and returns the path that it names.
func fetched(t *testing.T, option string) string {
	t.Helper()
	for _, args := range [][]string{{option}, {option, "--which"}} {
		out, err := exec.CommandContext(t.Context(), "./fetch", args...).Output()
		if err != nil {
			t.Fatalf("nginx/fetch %s: %v: %s", args, err, out)
		}
		if len(args) == 2 {
			return strings.TrimSpace(string(out))
		}
	}
	return ""
}

// signed is a token of a header and claims, which are JSON unless they are text, signed by HMAC.
func signed(header, claims any, secret string, of func() hash.Hash) string {
	encode := func(part any) string {
		text, ok := part.(string)
		if !ok {
			bytes, err := json.Marshal(part)
			if err != nil {
				panic(err)
			}
			text = string(bytes)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(text))
	}
	text := encode(header) + "." + encode(claims)
	mac := hmac.New(of, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// A claim changes one claim of a valid token; nil removes it.
type claim struct {
	name  string
	value any
}

func token(changes ...claim) string {
	all := map[string]any{"sub": "ada", "aud": "trivet", "exp": time.Now().Add(time.Hour).Unix()}
	for _, c := range changes {
		if all[c.name] = c.value; c.value == nil {
			delete(all, c.name)
		}
	}
	return signed(map[string]string{"alg": "HS256", "typ": "JWT"}, all, jwtSecret, sha256.New)
}

// hostileTokens are values of Authorization, by what is wrong with them.
func hostileTokens() map[string]string {
	hs256, good := map[string]string{"alg": "HS256"}, token()
	parts := strings.Split(good, ".")
	claims := map[string]any{"sub": "ada", "aud": "trivet", "exp": time.Now().Add(time.Hour).Unix()}
	forged := signed(hs256, map[string]any{"sub": "root", "aud": "trivet", "exp": time.Now().Add(time.Hour).Unix()}, "x", sha256.New)
	none := signed(map[string]string{"alg": "none"}, claims, "", sha256.New)
	all := map[string]string{
		"scheme alone":           "Bearer",
		"empty token":            "Bearer ",
		"another scheme":         "Basic " + good,
		"two tokens":             "Bearer " + good + " " + good,
		"no scheme":              good,
		"comma":                  "Bearer " + good + ", Bearer x",
		"alg none, no signature": "Bearer " + none[:strings.LastIndex(none, ".")+1],
		"alg none, two parts":    "Bearer " + none[:strings.LastIndex(none, ".")],
		"payload of another":     "Bearer " + parts[0] + "." + strings.Split(forged, ".")[1] + "." + parts[2],
		"signature cut":          "Bearer " + good[:len(good)-1],
		"signature longer":       "Bearer " + good + "A",
		"signature padded":       "Bearer " + good + "=",
		"no signature":           "Bearer " + parts[0] + "." + parts[1] + ".",
		"four parts":             "Bearer " + good + ".x",
		"five parts (JWE)":       "Bearer a.b.c.d.e",
		"dots":                   "Bearer ...",
		"only dots":              "Bearer ..",
		"no base64":              "Bearer a*b.c(d.e)f",
		"percent":                "Bearer %00.%0d%0a.%s",
		"4 KB":                   "Bearer " + strings.Repeat("A", 2000) + "." + strings.Repeat("B", 2000) + ".C",
		"6 KB":                   "Bearer " + strings.Repeat("A", 3000) + "." + strings.Repeat("B", 3000) + ".C",
		"catastrophic":           "Bearer " + strings.Repeat("a.", 2000),
	}
	for name, t := range invalidTokens(hs256, claims, none) {
		all[name] = "Bearer " + t
	}
	return all
}

// invalidTokens are tokens of three parts, by what is wrong with them.
func invalidTokens(hs256 map[string]string, claims map[string]any, none string) map[string]string {
	return map[string]string{
		"alg none, signed":   none,
		"alg None":           signed(map[string]string{"alg": "None"}, claims, jwtSecret, sha256.New),
		"alg hs256":          signed(map[string]string{"alg": "hs256"}, claims, jwtSecret, sha256.New),
		"HS512":              signed(map[string]string{"alg": "HS512"}, claims, jwtSecret, sha512.New),
		"RS256":              signed(map[string]string{"alg": "RS256"}, claims, jwtSecret, sha256.New),
		"no alg":             signed(map[string]string{"typ": "JWT"}, claims, jwtSecret, sha256.New),
		"list of algs":       signed(map[string]any{"alg": []string{"HS256"}}, claims, jwtSecret, sha256.New),
		"extension":          signed(map[string]any{"alg": "HS256", "crit": []string{"x"}}, claims, jwtSecret, sha256.New),
		"own key":            signed(map[string]any{"alg": "HS256", "jwk": map[string]string{"kty": "oct", "k": "eA"}}, claims, "x", sha256.New),
		"key file":           signed(map[string]any{"alg": "HS256", "kid": "../../dev/null"}, claims, "", sha256.New),
		"wrong secret":       signed(hs256, claims, jwtSecret+"x", sha256.New),
		"empty secret":       signed(hs256, claims, "", sha256.New),
		"header no JSON":     signed("{", claims, jwtSecret, sha256.New),
		"header null":        signed("null", claims, jwtSecret, sha256.New),
		"header list":        signed(`["HS256"]`, claims, jwtSecret, sha256.New),
		"header proto":       signed(`{"__proto__":{"alg":"HS256"}}`, claims, "x", sha256.New),
		"header deep":        signed(strings.Repeat("[", 1500), claims, jwtSecret, sha256.New),
		"header bytes":       signed("\x00\xff\xfe", claims, jwtSecret, sha256.New),
		"claims null":        signed(hs256, "null", jwtSecret, sha256.New),
		"claims text":        signed(hs256, `"ada"`, jwtSecret, sha256.New),
		"claims list":        signed(hs256, `[]`, jwtSecret, sha256.New),
		"claims deep":        signed(hs256, strings.Repeat(`{"a":`, 500), jwtSecret, sha256.New),
		"expired":            token(claim{"exp", time.Now().Add(-2 * time.Second).Unix()}),
		"no expiry":          token(claim{"exp", nil}),
		"expiry text":        token(claim{"exp", "9999999999"}),
		"expiry list":        token(claim{"exp", []int{9999999999}}),
		"expiry infinite":    signed(hs256, `{"sub":"ada","aud":"trivet","exp":1e999}`, jwtSecret, sha256.New),
		"expiry negative":    token(claim{"exp", -1}),
		"not yet valid":      token(claim{"nbf", time.Now().Add(time.Hour).Unix()}),
		"not before text":    token(claim{"nbf", "0"}),
		"another audience":   token(claim{"aud", "other"}),
		"no audience":        token(claim{"aud", nil}),
		"audiences of other": token(claim{"aud", []string{"a", "b"}}),
		"nested audience":    token(claim{"aud", [][]string{{"trivet"}}}),
		"no subject":         token(claim{"sub", nil}),
		"subject number":     token(claim{"sub", 7}),
		"empty subject":      token(claim{"sub", ""}),
		"subject line break": token(claim{"sub", "ada\r\nX-Admin: 1"}),
		"subject NUL":        token(claim{"sub", "a\x00b"}),
		"long subject":       token(claim{"sub", strings.Repeat("a", 129)}),
	}
}

func TestJWT(t *testing.T) {
	for _, v := range []struct{ name, option string }{{"this release", ""}, {"next release", "--next"}} {
		t.Run(v.name, func(t *testing.T) {
			module := ""
			if v.option == "" {
				module = fetched(t, "--njs")
			} else {
				binary := fetched(t, v.option)
				t.Setenv("TRIVET_NGINX", binary)
				module = filepath.Join(filepath.Dir(binary), "root/usr/lib/nginx/modules/ngx_http_js_module.so")
			}
			testJWT(t, module)
		})
	}
}

func testJWT(t *testing.T, module string) {
	turnOn := append(inServers("jwt-server"), inHTTP("jwt"),
		edit{"nginx.conf", "include site/process.conf;\n", "include policies/jwt-module.conf;\ninclude site/process.conf;\n"},
		edit{"policies/jwt-module.conf", "modules/ngx_http_js_module.so", module})
	for _, secret := range []string{"", jwtSecret[:31]} { // With none, or a short one, nothing passes.
		b := startNginx(t, both(t), append(turnOn, edit{"policies/jwt-secret.conf", `default "";`, `default "` + secret + `";`})...)
		claims := map[string]any{"sub": "ada", "aud": "trivet", "exp": time.Now().Add(time.Hour).Unix()}
		authorization := "Bearer " + signed(map[string]string{"alg": "HS256"}, claims, secret, sha256.New)
		if code, _, body, err := raw(t, b.HTTP, get("unset", "/", "Authorization: "+authorization)); code != 401 || err != nil {
			t.Errorf("secret %q: %d %s %v", secret, code, body, err)
		}
	}
	b := startNginx(t, both(t), append(turnOn, edit{"policies/jwt-secret.conf", `default "";`, `default "` + jwtSecret + `";`})...)
	valid := []string{"Bearer " + token(), "bearer " + token(claim{"aud", []string{"other", "trivet"}}), "Bearer " + token(claim{"nbf", 0}, claim{"sub", "spiffe://trivet/client/ada"})}
	for n, authorization := range valid {
		if code, _, body, err := raw(t, b.HTTP, get(fmt.Sprint("valid-", n), "/", "Authorization: "+authorization)); code != 200 || err != nil {
			t.Errorf("%s: %d %s %v", authorization, code, body, err)
		}
		if _, _, err := call(t, b.GRPC, fmt.Sprint("valid-", n), "authorization", authorization); err != nil {
			t.Errorf("%s: %v", authorization, err)
		}
		if err := stream(t, b.GRPC, "authorization", authorization); err != nil {
			t.Errorf("%s: %v", authorization, err)
		}
	}
	hostile := hostileTokens()
	hostile["none"] = ""
	n := 0
	for name, authorization := range hostile {
		n++
		lines, pairs := []string{"Authorization: " + authorization}, []string{"authorization", authorization}
		if name == "none" {
			lines, pairs = nil, nil
		}
		code, _, body, err := raw(t, b.HTTP, get(fmt.Sprint("hostile-", n), "/", lines...))
		if err != nil || code != 401 || decode(t, body).Code != int(codes.Unauthenticated) {
			t.Errorf("%s: %d %s %v", name, code, body, err)
		}
		if _, _, err := call(t, b.GRPC, fmt.Sprint("hostile-", n), pairs...); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: gRPC: %v", name, err)
		}
	}
	for _, lines := range [][]string{{"Authorization: Bearer x", "Authorization: " + valid[0]}, {"Authorization: " + valid[0], "Authorization: Bearer x"}} {
		if code, _, body, err := raw(t, b.HTTP, get("hostile-two", "/", lines...)); err != nil || code != 400 && code != 401 {
			t.Errorf("two headers: %d %s %v", code, body, err)
		}
	}
	if code, _, _, err := raw(t, b.HTTP, get("valid-last", "/", "Authorization: "+valid[0])); code != 200 || err != nil {
		t.Errorf("afterwards: %d %v", code, err)
	}
	for _, l := range b.log(t) {
		if strings.HasPrefix(l.ID, "hostile-") && l.UpstreamAddr != "" {
			t.Errorf("%+v reached an instance", l)
		}
	}
	text, err := os.ReadFile(filepath.Join(b.dir, "logs", "error.log"))
	if err != nil || strings.Contains(string(text), "exited on signal") || strings.Contains(string(text), "[alert]") || strings.Contains(string(text), jwtSecret) {
		t.Errorf("%v %s", err, text)
	}
}
