package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"

	"trivet/lab/scenario"
	"trivet/nginx"
	"trivet/nginx/confedit"
)

const (
	// MaxInstances is the most instances that a fleet can have.
	MaxInstances = 1000
	// MaxNumbered is the most instances of a service with numbered ports: 8001… and 9001… stay well below nginx's own 8080 and 9090.
	MaxNumbered = 60
)

// Protocols of listeners, as messages name them.
const (
	httpListener  = "HTTP"
	grpcListener  = "gRPC"
	adminListener = "admin" // for operators
	tlsListener   = "TLS"   // nginx's, for both protocols
)

// Options describe a fleet. Fields without a default are required.
type Options struct {
	Instances int    // of whoami, 1 to MaxInstances
	Front     int    // instances of front, 0 to MaxNumbered
	Bind      string // IP address that nginx listens on; default 127.0.0.1. Instances: the same if it is a loopback address, else 127.0.0.1
	HTTP      int    // nginx's port for HTTP; 0: the kernel's choice
	GRPC      int    // nginx's port for gRPC; 0: the kernel's choice
	Admin     int    // nginx's port for its own health and status, on a loopback address; 0: the kernel's choice
	Numbered  bool   // whoami-N on 8000+N, 9000+N and 7000+N (admin), front-N 100 above, with up to MaxNumbered instances; else on ports of the kernel's choice, without metrics

	TLS     bool // nginx serves both protocols over TLS, too
	TLSPort int  // nginx's port for that; 0: the kernel's choice
	MTLS    bool // nginx and the instances use mutual TLS

	Whoami       string   // path of whoami's program
	FrontProgram string   // path of front's program, where Front is not 0
	EnvFile      string   // the instances' --env-file; "": none
	Env          []string // NAME=value, added to this process's environment for every instance
	CleanEnv     bool     // of this process's environment, instances get only what is no setting of theirs or of Go's

	Nginx    nginx.Binary      // from nginx.Find
	Conf     fs.FS             // its configuration; nil: the shipped one
	Files    map[string]string // new files beside it, in Dir: text by name
	Edits    []confedit.Edit   // changes to it, in Dir, after Files; an instance's name stands for its endpoints
	Workers  int               // its worker processes; 0: one per CPU
	Balancer Balancer          // replaces nginx, and the five fields above; nil: nginx

	// Dir is the fleet's directory: absolute, existing, and not used by another fleet. If this process is root, every parent must let other
	// users pass through, because nginx's workers then are not root. See record.NewRun.
	Dir string

	NoRestart bool            // processes that die stay down
	Observe   func(Event)     // gets every event, one after the other, and must return soon; nil: none
	Health    func(Health)    // gets each change of an instance's health, as Observe gets events; nil: none is checked
	Probed    func(id string) // gets the ID of each request that the fleet sends, before it is sent, as Observe gets events; nil: none
}

// A FieldError is a field of Options with a value that it cannot have.
type FieldError struct {
	Field string
	Value any
	Want  string
}

func (e *FieldError) Error() string { return fmt.Sprintf("%s is %v: %s", e.Field, e.Value, e.Want) }

// Validate returns a FieldError for each field that is wrong, joined.
func (o Options) Validate() error {
	errs := o.validateShape()
	missing := func(field, value, want string) {
		if value == "" {
			errs = append(errs, &FieldError{field, `""`, want})
		}
	}
	missing("Whoami", o.Whoami, "want the path of the instances' program")
	if o.Front > 0 {
		missing("FrontProgram", o.FrontProgram, "want the path of front's program")
	}
	if o.Balancer == nil {
		missing("Nginx", o.Nginx.Path, "want what nginx.Find found")
	}
	missing("Dir", o.Dir, "want the fleet's directory")
	return errors.Join(errs...)
}

// validateShape is Validate without programs and directories.
func (o Options) validateShape() []error {
	var errs []error
	wrong := func(field string, value any, want string, args ...any) {
		errs = append(errs, &FieldError{field, value, fmt.Sprintf(want, args...)})
	}
	if o.Instances < 1 || o.Instances > MaxInstances {
		wrong("Instances", o.Instances, "want 1 to %d", MaxInstances)
	}
	if o.Numbered && o.Instances > MaxNumbered {
		wrong("Instances", o.Instances, "want at most %d with numbered ports", MaxNumbered)
	}
	if o.Front < 0 || o.Front > MaxNumbered {
		wrong("Front", o.Front, "want 0 to %d", MaxNumbered)
	}
	if _, err := o.address(); err != nil {
		wrong("Bind", o.Bind, "want an IP address, like 127.0.0.1 or ::1")
	}
	if o.Workers < 0 {
		wrong("Workers", o.Workers, "want 0 (one per CPU) or more")
	}
	ports := map[int]string{}
	if o.Numbered {
		ports = o.numberedPorts()
	}
	for _, p := range o.nginxPorts() {
		if p.port < 0 || p.port > 65535 {
			wrong(p.field, p.port, "want a port, 1 to 65535, or 0 for any")
			continue
		}
		switch of := ports[p.port]; {
		case p.port == 0:
		case of == "":
			ports[p.port] = p.field
		case strings.Contains(of, "-"):
			wrong(p.field, p.port, "that is a port of %s", of)
		default:
			wrong(p.field, p.port, "%s has that port already", of)
		}
	}
	return errs
}

// balancer is the Balancer that the options choose.
func (o Options) balancer() Balancer {
	if o.Balancer != nil {
		return o.Balancer
	}
	conf := o.Conf
	if conf == nil {
		conf = nginx.Conf()
	}
	return nginxBalancer{o.Nginx, conf, o.Files, o.Edits, o.Workers}
}

// A nginxPort is a port of nginx's, with the field that sets it.
type nginxPort struct {
	field, protocol string
	port            int
}

// nginxPorts are those that nginx listens on.
func (o Options) nginxPorts() []nginxPort {
	all := []nginxPort{{"HTTP", httpListener, o.HTTP}, {"GRPC", grpcListener, o.GRPC}, {"Admin", adminListener, o.Admin}}
	if o.TLS {
		all = append(all, nginxPort{"TLSPort", tlsListener, o.TLSPort})
	}
	return all
}

// InstanceAt is the instance that has a port by its number; "": none has.
func (o Options) InstanceAt(port int) string {
	if !o.Numbered {
		return ""
	}
	return o.numberedPorts()[port]
}

// numberedPorts are the instances, by the ports that they have by their numbers.
func (o Options) numberedPorts() map[int]string {
	all := map[int]string{}
	for _, name := range scenario.ServiceNames(max(0, min(o.Instances, MaxNumbered)), max(0, min(o.Front, MaxNumbered))) {
		n := number(name)
		for _, base := range []int{7000, 8000, 9000} {
			all[base+n] = name
		}
	}
	return all
}

// instanceAdmin reports whether instances have an admin listener: it has their health, and no request to it is in a record.
func (o Options) instanceAdmin() bool { return o.Numbered || o.Health != nil }

// number is the N of whoami-N, and 100 + N of front-N.
func number(name string) int {
	_, digits, _ := strings.Cut(name, "-")
	n, err := strconv.Atoi(digits)
	if err != nil {
		panic(err) // Package scenario makes the names.
	}
	if scenario.IsFront(name) {
		n += 100
	}
	return n
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func (o Options) address() (netip.Addr, error) {
	if o.Bind == "" {
		return loopback, nil
	}
	a, err := netip.ParseAddr(o.Bind)
	if err == nil && a.Zone() != "" {
		err = errors.New("nginx accepts no zones")
	}
	return a.Unmap(), err
}

// listenAddrs are all that the fleet listens on: nginx's, then each instance's, with an admin port where they are numbered.
func (o Options) listenAddrs() []listenAddr {
	outer, err := o.address()
	if err != nil {
		panic(err) // Validate has returned it.
	}
	inner := loopback
	if outer.IsLoopback() {
		inner = outer
	}
	var fixed, chosen []listenAddr // by whether the kernel chooses the port
	add := func(process, protocol string, ip netip.Addr, port int) {
		a := listenAddr{process, protocol, netip.AddrPortFrom(ip, uint16(port))}
		if port == 0 {
			chosen = append(chosen, a)
		} else {
			fixed = append(fixed, a)
		}
	}
	for _, p := range o.nginxPorts() {
		ip := outer
		if p.protocol == adminListener {
			ip = inner
		}
		add(scenario.Nginx, p.protocol, ip, p.port)
	}
	for _, name := range scenario.ServiceNames(o.Instances, o.Front) {
		http, grpc, admin := 0, 0, 0
		if o.Numbered {
			n := number(name)
			http, grpc, admin = 8000+n, 9000+n, 7000+n
		}
		if o.instanceAdmin() {
			add(name, adminListener, inner, admin)
		}
		add(name, httpListener, inner, http)
		add(name, grpcListener, inner, grpc)
	}
	// Fixed ports first: the kernel must not choose one that is still to come.
	return append(fixed, chosen...)
}
