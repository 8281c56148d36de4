package scenario

import "time"

// Protocols, as experiment files, plans and records name them.
const (
	HTTP = "http"
	GRPC = "grpc"
)

// Calls, as experiment files and plans name them.
const (
	Unary = "unary" // WhoAmI; over HTTP GET /
	Watch = "watch" // WatchWhoAmI, held for a while; gRPC only
	Idle  = "idle"  // a stream that carries no message, until its deadline; gRPC only
)

// A Load is requests of one kind, sent at a rate whatever becomes of earlier ones (an open loop).
type Load struct {
	Name     string  `json:"name"`             // its protocol's if it has none of its own
	Protocol string  `json:"protocol"`         // HTTP or GRPC
	Call     string  `json:"call"`             // Unary, Watch or Idle
	Rate     Rate    `json:"rate"`             //
	Request  Request `json:"request,omitzero"` // zero: GET /, or an empty message
	// Hops are the calls that each request asks for on its way, see package hop; none: it is served by its receiver alone.
	Hops        []string `json:"hops,omitempty"`
	Users       int      `json:"users,omitempty"`       // HTTP: virtual users, each with connections of its own; requests go to them in turn; 0 is 1
	Connections int      `json:"connections,omitempty"` // HTTP: the most at once, of each user; 0: no limit
	Channels    int      `json:"channels,omitempty"`    // gRPC: at least 1, used in turn; HTTP: 0
	// Addresses are the client addresses, one for each user or channel in turn; none: the kernel chooses.
	Addresses []string `json:"addresses,omitempty"`
	// NewConnection makes each request open a connection of its own and close it: over HTTP with "Connection: close", over gRPC a channel.
	NewConnection bool          `json:"new_connection,omitempty"`
	Deadline      time.Duration `json:"deadline"` // of each request, from its start; more than 0
	// Hold is for Watch: the client cancels after so long, and the call was OK if a message had come by then. It is less than Deadline.
	Hold time.Duration `json:"hold,omitempty"`
	// Retry over gRPC applies the retry policy of the shipped service config (nginx.ServiceConfig); transparent retries happen without
	// it, too, and nothing can turn them off. Over HTTP it lets net/http resend a GET whose kept-alive connection was being closed;
	// without it such a GET fails, as a POST would.
	Retry bool `json:"retry"`
	// RetryCode is the gRPC code that Retry retries in the place of UNAVAILABLE, like RESOURCE_EXHAUSTED; "": UNAVAILABLE.
	RetryCode string `json:"retry_code,omitempty"`
}

// A Request is what each request of a Load is.
type Request struct {
	Method   string            `json:"method,omitempty"`    // HTTP; "" is GET. Without Body and Retry, POST and PUT have no Content-Length
	Path     string            `json:"path,omitempty"`      // HTTP: path and query; "" is /
	Headers  map[string]string `json:"headers,omitempty"`   // HTTP, beside User-Agent and X-Request-Id
	Body     string            `json:"body,omitempty"`      // HTTP
	BodySize int64             `json:"body_size,omitempty"` // HTTP, instead of Body: so many bytes
	Metadata map[string]string `json:"metadata,omitempty"`  // gRPC, beside x-request-id
	Message  string            `json:"message,omitempty"`   // gRPC: the request message as protobuf's JSON; a watch without an interval has 100 ms
	Padding  int64             `json:"padding,omitempty"`   // gRPC: so many bytes in a further field of the message, which no service knows
}
