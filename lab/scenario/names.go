package scenario

import (
	"strconv"
	"strings"
)

// Names of the processes of a trial, beside those of the instances and of nginx's workers.
const (
	Nginx     = "nginx"     // the load balancer; of its processes the master
	Generator = "generator" // the load generator
	Lab       = "trivet"    // the lab itself
)

// Names of what actions on certificates are done to, beside Nginx, whose certificate instances see, and the instances.
const (
	Edge      = "edge"      // nginx's certificate for clients
	Authority = "authority" // the certificate authority of the trial
)

const (
	instancePrefix = "whoami-"
	frontPrefix    = "front-"
	workerPrefix   = Nginx + "-worker-"
)

// WorkerName is the name of nginx's n-th worker, counted from 1, the one that was started first.
func WorkerName(n int) string { return workerPrefix + strconv.Itoa(n) }

// WorkerNumber is the number in a worker's name; false if it is none.
func WorkerNumber(name string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(name, workerPrefix)
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n > 0 && WorkerName(n) == name
}

// InstanceName is the name of the n-th instance of whoami, counted from 1.
func InstanceName(n int) string { return instancePrefix + strconv.Itoa(n) }

// FrontName is the name of the n-th instance of front, counted from 1.
func FrontName(n int) string { return frontPrefix + strconv.Itoa(n) }

// IsFront reports whether an instance is one of front.
func IsFront(name string) bool { return strings.HasPrefix(name, frontPrefix) }

// InstanceNames are the names of n instances of whoami, whoami-1 first.
func InstanceNames(n int) []string { return ServiceNames(n, 0) }

// ServiceNames are the names of n instances of whoami, then those of so many of front.
func ServiceNames(n, front int) []string {
	names := make([]string, 0, n+front)
	for i := range n {
		names = append(names, InstanceName(i+1))
	}
	for i := range front {
		names = append(names, FrontName(i+1))
	}
	return names
}

// CompareNames orders names of processes, for [slices.SortFunc]: whoami-2 before whoami-10.
func CompareNames(a, b string) int {
	for _, prefix := range []string{instancePrefix, frontPrefix, workerPrefix} {
		if len(a) != len(b) && strings.HasPrefix(a, prefix) && strings.HasPrefix(b, prefix) {
			return len(a) - len(b)
		}
	}
	return strings.Compare(a, b)
}
