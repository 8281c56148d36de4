package gateway

import (
	"embed"
	"fmt"
	"net/http"
)

//go:embed openapi
var swagger embed.FS

// OpenAPI returns a handler that serves the description of a service's REST mapping, Swagger 2.0, which is generated from its proto. It
// panics if there is no such service in this module.
func OpenAPI(service string) http.HandlerFunc {
	text, err := swagger.ReadFile(fmt.Sprintf("openapi/%s/v1/%[1]s.swagger.json", service))
	if err != nil {
		panic(err) // The file is embedded.
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(text)
	}
}
