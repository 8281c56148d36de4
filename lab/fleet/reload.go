package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// reloadPatience bounds how long nginx may take from SIGHUP to new workers.
const reloadPatience = 10 * time.Second

// Reload makes nginx read its configuration (conf/ in Dir, which may have been edited) again, as `nginx -s reload` does. It returns when
// new workers serve and the old ones take no more connections; those may be finishing what they have. A configuration that nginx
// refuses changes nothing: the error wraps ErrConf.
func (f *Fleet) Reload(ctx context.Context) error {
	f.reloading.Lock()
	defer f.reloading.Unlock()
	if err := f.options.Nginx.Test(ctx, f.options.Dir); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w:\n%w", ErrConf, err)
	}
	p := f.byName[Nginx]
	master := p.PID()
	before := workers(master)
	log, err := os.Stat(f.LogFile(Nginx))
	if err != nil {
		return err
	}
	if err := p.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, reloadPatience, fmt.Errorf("nginx has no new workers %v after SIGHUP; its error log is %s", reloadPatience, f.LogFile(Nginx)))
	defer cancel()
	return f.awaitWorkers(ctx, master, before, log.Size())
}

func (f *Fleet) awaitWorkers(ctx context.Context, master int, before []worker, logged int64) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if reloaded(before, workers(master)) {
			return nil
		}
		if f.byName[Nginx].PID() != master {
			return errors.New("nginx ended during the reload")
		}
		if refusal := f.refusal(logged); refusal != "" {
			return fmt.Errorf("%w: %s", ErrConf, refusal)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// reloaded decides from nginx's workers before the reload and now whether it is over: there are new ones, all of them serve, and
// none of the old ones takes connections. nginx tells the old ones to leave once it has forked all new ones.
func reloaded(before, now []worker) bool {
	fresh := false
	for _, w := range now {
		old := slices.ContainsFunc(before, func(b worker) bool { return b.pid == w.pid })
		if w.booting || old && !w.leaving {
			return false
		}
		fresh = fresh || !old
	}
	return fresh
}

// refusal is the first line since an offset with which nginx says that it keeps its old configuration, as after a port that it cannot
// get: nginx -t does not see everything.
func (f *Fleet) refusal(since int64) string {
	log, err := os.Open(f.LogFile(Nginx))
	if err != nil {
		return ""
	}
	defer log.Close()
	lines := bufio.NewScanner(io.NewSectionReader(log, since, 1<<20))
	for lines.Scan() {
		if strings.Contains(lines.Text(), "[emerg]") {
			return lines.Text()
		}
	}
	return ""
}
