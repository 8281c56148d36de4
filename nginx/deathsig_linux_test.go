package nginx

import "syscall"

// endWithTests makes nginx end even if the tests are killed.
func endWithTests() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
