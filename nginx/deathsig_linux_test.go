package nginx

import "syscall"

// endWithTests ends nginx even when the tests are killed.
func endWithTests() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
