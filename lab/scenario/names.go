package scenario

import (
	"strconv"
	"strings"
)

// Nginx is the load balancer's name among the processes of a fleet.
const Nginx = "nginx"

const instancePrefix = "whoami-"

// InstanceName is the name of the n-th instance, counted from 1.
func InstanceName(n int) string { return instancePrefix + strconv.Itoa(n) }

// InstanceNames are the names of n instances, whoami-1 first.
func InstanceNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = InstanceName(i + 1)
	}
	return names
}

// CompareNames orders names of processes, for [slices.SortFunc]: whoami-2 before whoami-10.
func CompareNames(a, b string) int {
	if len(a) != len(b) && strings.HasPrefix(a, instancePrefix) && strings.HasPrefix(b, instancePrefix) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}
