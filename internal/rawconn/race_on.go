//go:build race

package rawconn

// announced reports whether calls go through package syscall, whose annotations the race detector needs.
const announced = true
