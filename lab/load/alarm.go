package load

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// shortWait is a wait that takes less time than setting an alarm, sleeping and waking.
const shortWait = 20 * time.Microsecond

// An alarm wakes one goroutine at planned times, late by some tens of microseconds. Go's timers are late by up to a millisecond: an idle
// runtime waits for them in epoll, whose timeout it gives in whole milliseconds. An alarm is a timerfd, one of the kernel's own timers. To
// the runtime it is a file that becomes readable, like a connection, so waiting for it takes no thread.
type alarm struct {
	file *os.File
	conn syscall.RawConn
	stop func() bool
}

// newAlarm makes an alarm that also wakes when ctx ends.
func newAlarm(ctx context.Context) (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", os.NewSyscallError("timerfd_create", err))
	}
	a := &alarm{file: os.NewFile(uintptr(fd), "timerfd")}
	if a.conn, err = a.file.SyscallConn(); err == nil {
		err = a.file.SetReadDeadline(time.Time{}) // It fails if the runtime does not poll the file.
	}
	if err != nil {
		a.file.Close()
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	a.stop = context.AfterFunc(ctx, func() { _ = a.file.SetReadDeadline(time.Unix(1, 0)) })
	return a, nil
}

// wait returns at a time, not before it, or with an error if ctx ends first.
func (a *alarm) wait(until time.Time) error {
	for d := time.Until(until); d < shortWait; d = time.Until(until) {
		if d <= 0 {
			return nil
		}
		runtime.Gosched()
	}
	set, failed := false, error(nil)
	// Where the function returns false, the runtime waits for an event of the file and calls it again. The expiry need not be read: each is
	// an event of its own, and setting the timer again resets it. It is set in here, since the runtime forgets earlier events before.
	err := a.conn.Read(func(fd uintptr) bool {
		d := time.Until(until)
		if d <= 0 || set {
			return d <= 0
		}
		set = true
		failed = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}, nil)
		return failed != nil
	})
	if failed != nil {
		return fmt.Errorf("set a timer: %w", os.NewSyscallError("timerfd_settime", failed))
	}
	if time.Until(until) <= 0 {
		return nil // After a stall the time may have come and ctx have ended before anything of it was seen.
	}
	return err
}

func (a *alarm) close() {
	a.stop()
	a.file.Close()
}
