package gateway

import (
	_ "embed"
	"net/http"
)

//go:embed openapi/whoami/v1/whoami.swagger.json
var swagger []byte

// OpenAPI serves the description of the REST mapping, as generated from the proto: Swagger 2.0.
func OpenAPI() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(swagger)
	})
}
