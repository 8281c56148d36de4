package fleet

import (
	"context"
	"syscall"
	"time"

	"trivet/lab/record"
	"trivet/nginx/confedit"
)

// A Balancer is the program in front of the instances. A fleet gives it one process, scenario.Nginx, whose children end with it.
type Balancer interface {
	Info() BalancerInfo
	// Install writes the configuration for a site into dir.
	Install(dir string, s Site) error
	// Test returns an error that wraps ErrConf if the program refuses the configuration in dir.
	Test(ctx context.Context, dir string) error
	// Command is the program and its arguments. It must run in the foreground.
	Command(dir string) (path string, args []string)
	// Reload makes the process read the configuration in dir again, and returns when only workers that did take connections. If the
	// program refuses it, the old configuration stays and the error wraps ErrConf.
	Reload(ctx context.Context, dir string, p *Process) error
	// Findings are what its logs in dir tell, after it has ended, that no action requested. The error wraps record.ErrRunDir if it could not
	// write all of its records.
	Findings(dir string, requested Requested) ([]record.Event, error)
}

// BalancerInfo is what a Balancer declares about itself.
type BalancerInfo struct {
	AllAttempts bool       // its access log has every attempt of a request, not only the last: the ledger needs that
	Reloads     bool       // Reload works
	Edits       bool       // Install makes Site.Edits
	Workers     bool       // its children are workers, with the titles that nginx gives them
	Stop        []StopStep // SIGKILL follows the last
	ListenHint  string     // what to check if it runs and does not listen where it should
}

// A StopStep is a signal that asks a process to end, and the wait before the next, harder step.
type StopStep struct {
	Signal     syscall.Signal
	Wait       time.Duration
	ReadyFirst bool // skip it if the process was never ready: it would not handle the signal yet
}

// A Site is what a Balancer's configuration is about. Addresses are host:port.
type Site struct {
	HTTP, GRPC, Admin string            // where it listens
	Instances         []record.Instance // of whoami, then of front
	Diagnostics       bool              // health, reflection and the API's description may be public

	TLS             string // where it listens for both protocols over TLS; "": nowhere
	EdgeCertificate string // file of the certificate and key for TLS
	OwnCertificate  string // file of its certificate and key for mutual TLS with the instances; "": they speak plain HTTP and gRPC
	CA              string // file of the trusted authorities of both

	Edits []confedit.Edit // further changes to its configuration
}

// Requested is what actions did to a Balancer's processes that its logs have, too.
type Requested struct {
	Reloads []Reloading
	Killed  []int // PIDs of workers
}

// A Reloading is the time of a reload.
type Reloading struct {
	Begin, End time.Time // End is zero if the reload did not complete
}
