package gateway

import (
	_ "embed"
	"net/http"
)

//go:embed openapi/whoami/v1/whoami.swagger.json
var swagger []byte

// OpenAPI returns a handler of the REST mapping's description, Swagger 2.0, which is generated from the proto.
func OpenAPI() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(swagger)
	})
}
