package exporter

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"trivet/lab/record"
)

// An entry is what the exporter reads of a line of the access log, beyond what the ledger does.
type entry struct {
	record.AccessLogEntry
	Method           string `json:"method"`
	URI              string `json:"uri"`
	PreviousAttempts string `json:"grpc_previous_attempts"`
	ResponseTime     string `json:"upstream_response_time"`
	Received         uint64 `json:"bytes_received"`
	Sent             uint64 `json:"bytes_sent"`
	attempts         []attempt
}

// An attempt is one of nginx's, and how many seconds it took.
type attempt struct {
	record.Attempt
	took  float64
	known bool // whether the entry has took
}

// errVersion is the error of a line of another version than [record.AccessLogVersion].
var errVersion = errors.New("unknown version")

func parse(line []byte) (e entry, err error) {
	if err := json.Unmarshal(line, &e); err != nil {
		return entry{}, err
	}
	if e.V != record.AccessLogVersion {
		return entry{}, fmt.Errorf("%w: %d, want %d", errVersion, e.V, record.AccessLogVersion)
	}
	attempts, err := e.Attempts()
	if err != nil {
		return entry{}, err
	}
	times := e.times()
	for i, a := range attempts {
		one := attempt{Attempt: a}
		if len(times) == len(attempts) {
			one.took, err = strconv.ParseFloat(times[i], 64)
			one.known = err == nil
		}
		e.attempts = append(e.attempts, one)
	}
	return e, nil
}

// times returns upstream_response_time as a list, without what belongs to an empty address, which is no attempt.
func (e entry) times() (times []string) {
	addresses := split(e.Addr)
	for i, time := range split(e.ResponseTime) {
		if i >= len(addresses) || addresses[i] != "" {
			times = append(times, time)
		}
	}
	return times
}

// split splits one of nginx's lists: ", " between attempts, " : " where an internal redirect began again, which may stand last too.
func split(list string) []string {
	return strings.Split(strings.TrimSuffix(strings.ReplaceAll(list, " : ", ", "), ", "), ", ")
}

const (
	protocolHTTP = "http"
	protocolGRPC = "grpc"
)

var grpcPath = regexp.MustCompile(`^/[A-Za-z_][\w.]*/[A-Za-z_]\w*$`)

// protocol returns whether the request was gRPC: it got a gRPC status, or it looks like a call, for one that broke off before its status.
func (e entry) protocol() string {
	if e.HeaderStatus != "" || e.Trailer != "" || e.Protocol == "HTTP/2.0" && e.Method == "POST" && grpcPath.MatchString(e.URI) {
		return protocolGRPC
	}
	return protocolHTTP
}

// Codes of gRPC calls that ended without a status.
const (
	codeCanceled = "Canceled" // the client left
	codeNone     = "none"     // the stream broke off
)

// code returns the HTTP status, or the Go name of the gRPC code. An instance could respond with any number, so both are checked.
func (e entry) code(protocol string) string {
	if protocol == protocolGRPC {
		text := e.Trailer
		if text == "" {
			text = e.HeaderStatus
		}
		n, err := strconv.ParseUint(text, 10, 8)
		switch {
		case err == nil && n <= uint64(codes.Unauthenticated):
			return codes.Code(n).String()
		case text != "":
			return codes.Unknown.String()
		case e.Status == "499":
			return codeCanceled
		}
		return codeNone
	}
	return httpStatus(e.Status)
}

// httpStatus returns an HTTP status as a label: 000 for what is none.
func httpStatus(text string) string {
	if n, err := strconv.ParseUint(text, 10, 16); err != nil || n < 100 || n > 599 {
		return "000"
	}
	return text
}

// Outcomes of nginx's attempts.
const (
	outcomeResponse = "response"        // a response header came
	outcomeRefused  = "refused"         // no connection, or it was reset before anything was sent: not executed
	outcomeTimeout  = "connect_timeout" // no connection in time: not executed
	outcomeInDoubt  = "in_doubt"        // something was sent and no header came: nginx cannot know whether it was executed
	outcomeCanceled = "canceled"        // the client left before there was a connection: not executed
	outcomeNoLive   = "no_live"         // no attempt: nginx found no live server in the upstream
)

func outcome(a record.Attempt) string {
	switch a.Fate {
	case record.GotHeader, record.Expired:
		return outcomeResponse
	case record.InDoubt:
		return outcomeInDoubt
	case record.NoLive:
		return outcomeNoLive
	}
	switch a.Status {
	case "504":
		return outcomeTimeout
	case "499", "-", "":
		return outcomeCanceled
	}
	return outcomeRefused
}
