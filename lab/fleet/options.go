package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"strconv"

	"trivet/nginx"
	"trivet/nginx/confedit"
)

const (
	// Most is the most instances that a fleet can have.
	Most = 1000
	// MostNumbered is the most instances that have numbered ports: 8001… and 9001…, below nginx's own 8080 and 9090 with room.
	MostNumbered = 60
	// Nginx is the balancer's name among the processes.
	Nginx = "nginx"

	admin = "admin" // the protocol of a listener for operators
)

// Options say what a fleet is. What has no default must be given.
type Options struct {
	Instances int    // 1 to Most
	Bind      string // IP address that nginx listens on; default 127.0.0.1. Instances: the same if it is a loopback address, else 127.0.0.1
	HTTP      int    // nginx's port for HTTP; 0: the kernel's choice
	GRPC      int    // nginx's port for gRPC; 0: the kernel's choice
	Admin     int    // nginx's port for its own health and status, on a loopback address; 0: the kernel's choice
	Numbered  bool   // whoami-N on 8000+N, 9000+N and 7000+N (admin), with up to MostNumbered instances; else on ports of the kernel's choice, without admin

	Whoami  string   // path of the instances' program
	EnvFile string   // the instances' --env-file; "": none
	Env     []string // NAME=value, added to this process's environment for every instance

	Nginx   nginx.Binary    // from nginx.Find
	Conf    fs.FS           // its configuration; nil: the shipped one
	Edits   []confedit.Edit // changes to it, in the run folder
	Workers int             // its worker processes; 0: one for each CPU

	// Dir is the run folder: absolute, there already, with nobody else's run in it. When this process is root, every parent of it must
	// let others through, because nginx's workers then are not root. See NewRun.
	Dir string

	NoRestart bool // leave down what dies
	// Observe gets every event, one after the other, and must return soon; nil: nobody wants to know.
	Observe func(Event)
}

// FieldError is a field of Options with a value that it cannot have.
type FieldError struct {
	Field string
	Value any
	Want  string
}

func (e *FieldError) Error() string { return fmt.Sprintf("%s is %v: %s", e.Field, e.Value, e.Want) }

// Validate reports everything that is wrong with o: a FieldError for each fault, joined.
func (o Options) Validate() error {
	faults := o.validateShape()
	missing := func(field, value, want string) {
		if value == "" {
			faults = append(faults, &FieldError{field, `""`, want})
		}
	}
	missing("Whoami", o.Whoami, "want the path of the instances' program")
	missing("Nginx", o.Nginx.Path, "want what nginx.Find found")
	missing("Dir", o.Dir, "want the run folder")
	return errors.Join(faults...)
}

// validateShape is Validate without the programs and folders.
func (o Options) validateShape() []error {
	var faults []error
	fault := func(field string, value any, want string, args ...any) {
		faults = append(faults, &FieldError{field, value, fmt.Sprintf(want, args...)})
	}
	if o.Instances < 1 || o.Instances > Most {
		fault("Instances", o.Instances, "want 1 to %d", Most)
	}
	if o.Numbered && o.Instances > MostNumbered {
		fault("Instances", o.Instances, "want at most %d with numbered ports", MostNumbered)
	}
	if _, err := o.address(); err != nil {
		fault("Bind", o.Bind, "want an IP address, like 127.0.0.1 or ::1")
	}
	if o.Workers < 0 {
		fault("Workers", o.Workers, "want 0 (one for each CPU) or more")
	}
	for _, p := range []struct {
		field string
		port  int
	}{{"HTTP", o.HTTP}, {"GRPC", o.GRPC}, {"Admin", o.Admin}} {
		if p.port < 0 || p.port > 65535 {
			fault(p.field, p.port, "want a port, 1 to 65535, or 0 for any")
		}
		for _, base := range []int{8000, 9000} {
			if n := p.port - base; o.Numbered && n >= 1 && n <= o.Instances {
				fault(p.field, p.port, "that is a port of whoami-%d", n)
			}
		}
	}
	if o.HTTP == o.GRPC && o.HTTP != 0 {
		fault("GRPC", o.GRPC, "HTTP has that port already")
	}
	if o.Admin != 0 && (o.Admin == o.HTTP || o.Admin == o.GRPC) {
		fault("Admin", o.Admin, "HTTP or GRPC has that port already")
	}
	return faults
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func (o Options) address() (netip.Addr, error) {
	if o.Bind == "" {
		return loopback, nil
	}
	a, err := netip.ParseAddr(o.Bind)
	if err == nil && a.Zone() != "" {
		err = errors.New("nginx knows no zones")
	}
	return a.Unmap(), err
}

// doors are all that the fleet listens on: nginx's three, then each instance's, with an admin port where they are numbered.
func (o Options) doors() []door {
	outer, err := o.address()
	if err != nil {
		panic(err) // Validate has seen it.
	}
	inner := loopback
	if outer.IsLoopback() {
		inner = outer
	}
	at := func(a netip.Addr, port int) netip.AddrPort { return netip.AddrPortFrom(a, uint16(port)) }
	doors := []door{{Nginx, "HTTP", at(outer, o.HTTP)}, {Nginx, "gRPC", at(outer, o.GRPC)}, {Nginx, admin, at(inner, o.Admin)}}
	for n := 1; n <= o.Instances; n++ {
		name, http, grpc := instance(n), 0, 0
		if o.Numbered {
			http, grpc = 8000+n, 9000+n
		}
		doors = append(doors, door{name, "HTTP", at(inner, http)}, door{name, "gRPC", at(inner, grpc)})
		if o.Numbered {
			doors = append(doors, door{name, admin, at(inner, 7000+n)})
		}
	}
	// The kernel must not choose a number that is asked for further on.
	numbered, any := make([]door, 0, len(doors)), []door(nil)
	for _, d := range doors {
		if d.address.Port() == 0 {
			any = append(any, d)
		} else {
			numbered = append(numbered, d)
		}
	}
	return append(numbered, any...)
}

func instance(n int) string { return "whoami-" + strconv.Itoa(n) }

// workersUser is whom nginx's workers should run as: "" (nginx's own choice) unless this process is root and there is an account that packages of nginx
// use. The group must exist too, because nginx takes the one of the same name.
func workersUser() string {
	if os.Getuid() != 0 {
		return ""
	}
	for _, name := range []string{"www-data", "nginx"} {
		_, noUser := user.Lookup(name)
		_, noGroup := user.LookupGroup(name)
		if noUser == nil && noGroup == nil {
			return name
		}
	}
	return ""
}
