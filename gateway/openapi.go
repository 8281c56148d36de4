package gateway

import (
	_ "embed"
	"net/http"
)

//go:embed openapi/whoami/v1/whoami.swagger.json
var swagger []byte

// OpenAPI serves the REST mapping's description, Swagger 2.0, which is generated from the proto.
func OpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(swagger)
}
