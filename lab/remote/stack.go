package remote

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/lab/trial"
)

// probeTimeout bounds one probe.
const probeTimeout = 10 * time.Second

// A Stack is what responds at an address.
type Stack struct {
	name string
	at   Address
	ca   string // file of the authorities that clients trust; "" without TLS
	tls  *tls.Config
	from string // the instance that responded first; "": the response named none
	by   string // nginx's version; "": unknown
}

// Open returns the stack at an address, which its name is parsed from. ca is a file with the authorities of its certificate. The error says that nothing responds there over HTTP.
func Open(ctx context.Context, name string, at Address, ca string) (*Stack, error) {
	s := &Stack{name: name, at: at, ca: ca}
	if at.TLS {
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read authorities: %s has no certificate", ca)
		}
		s.tls = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	}
	header, err := s.get(ctx, probeID())
	if err != nil {
		return nil, fmt.Errorf("%s does not respond over HTTP: %w", name, err)
	}
	s.from = header.Get("X-Instance")
	s.by, _ = strings.CutPrefix(header.Get("Server"), "nginx/")
	if s.by == header.Get("Server") {
		s.by = ""
	}
	return s, nil
}

func probeID() string { return record.ProbeIDPrefix + rand.Text() }

// Target says that there are no records but the client's. Which instances there are is not known either.
func (s *Stack) Target() record.Target {
	return record.Target{Kind: scenario.URL, Name: s.name, Changes: true}
}

// Responded is the instance that responded to Open; "" if the response named none.
func (s *Stack) Responded() string { return s.from }

// Instances is empty: how many there are is not known.
func (s *Stack) Instances() []record.Instance { return nil }

// Nginx is its version, if it adds that to its responses.
func (s *Stack) Nginx() string { return s.by }

// Secure reports whether it is called over TLS.
func (s *Stack) Secure() bool { return s.at.TLS }

// Can is false: at a URL requests can be sent, and nothing else done.
func (s *Stack) Can(scenario.Operation) bool { return false }

// Edits is false, as Can.
func (s *Stack) Edits() bool { return false }

// PreStop is false, as Can.
func (s *Stack) PreStop() bool { return false }

// Through is false: there is one way to it.
func (s *Stack) Through() bool { return false }

// Start sends a probe over each protocol of the scenario.
func (s *Stack) Start(ctx context.Context, of scenario.Scenario, _ string, observe func(record.Event)) (trial.System, error) {
	probe := func(protocol string, send func(context.Context, string) error) error {
		if !slices.ContainsFunc(of.Loads, func(l scenario.Load) bool { return l.Protocol == protocol }) {
			return nil
		}
		id := probeID()
		observe(record.Event{Event: record.Probe, ID: id})
		if err := send(ctx, id); err != nil {
			return fmt.Errorf("%s does not respond over %s: %w", s.name, protocol, err)
		}
		return nil
	}
	err := errors.Join(
		probe(scenario.HTTP, func(ctx context.Context, id string) error { _, err := s.get(ctx, id); return err }),
		probe(scenario.GRPC, s.call))
	if err != nil {
		return nil, err
	}
	return system{s}, nil
}

// get returns the header of the response to GET /, whatever its status is.
func (s *Stack) get(ctx context.Context, id string) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	url := "http://" + s.at.HTTP + "/"
	if s.at.TLS {
		url = "https://" + s.at.HTTP + "/"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "trivet")
	request.Header.Set("X-Request-Id", id)
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: s.tls},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.Header, err
}

// call makes a WhoAmI call. Any response will do but that there is none: UNAVAILABLE is grpc-go's code for that.
func (s *Stack) call(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	transport := insecure.NewCredentials()
	if s.at.TLS {
		transport = credentials.NewTLS(s.tls)
	}
	conn, err := grpc.NewClient("passthrough:///"+s.at.GRPC, grpc.WithTransportCredentials(transport), grpc.WithDisableRetry(), grpc.WithUserAgent("trivet"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = whoamiv1.NewWhoAmIServiceClient(conn).WhoAmI(metadata.AppendToOutgoingContext(ctx, "x-request-id", id), &whoamiv1.WhoAmIRequest{})
	if ctx.Err() == nil && status.Code(err) != codes.Unavailable {
		return nil
	}
	return err
}

// system is a stack during a trial: nothing to start and nothing to stop.
type system struct{ *Stack }

func (s system) HTTP() string { return s.at.HTTP }
func (s system) GRPC() string { return s.at.GRPC }
func (s system) CA() string   { return s.ca }

func (s system) TLS() string {
	if s.at.TLS {
		return s.at.HTTP
	}
	return ""
}

func (s system) Target() *record.Target { return new(s.Stack.Target()) }

func (s system) Processes() map[string]int { return nil }

func (s system) Do(_ context.Context, o scenario.Operation) error {
	return fmt.Errorf("%s: at a URL there are no actions", o.Name())
}

func (s system) Stop(context.Context) error { return nil }

func (s system) Findings() ([]record.Event, error) { return nil, nil }
