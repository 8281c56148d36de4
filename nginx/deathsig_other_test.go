//go:build !linux

package nginx

import "syscall"

func endWithTests() *syscall.SysProcAttr { return nil }
