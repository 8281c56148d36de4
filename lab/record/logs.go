package record

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"trivet/lab/scenario"
)

// FindLog returns the file of a process's log in a run directory, and the names of all logs there: each process's own, "nginx" for
// nginx's error log and "access" for its access log. The file of an unknown name is "".
func FindLog(dir, name string) (file string, names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, "logs"))
	if err != nil {
		return "", nil, err
	}
	for _, entry := range entries {
		known, isLog := strings.CutSuffix(entry.Name(), ".log")
		if !isLog {
			continue
		}
		if known == "error" {
			known = scenario.Nginx
		}
		names = append(names, known)
		if known == name {
			file = filepath.Join(dir, "logs", entry.Name())
		}
	}
	slices.SortFunc(names, scenario.CompareNames)
	return file, names, nil
}

// LogFile is the file that gets the output of a process.
func LogFile(dir, name string) string {
	if name == scenario.Nginx {
		name = "error" // What nginx writes before it opens its log belongs into the same file.
	}
	return filepath.Join(dir, "logs", name+".log")
}

// Tail is the last lines of a file, each indented by two spaces, or why there are none.
func Tail(name string, lines int) string {
	text, err := lastBytes(name, 8<<10)
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	all = all[max(0, len(all)-lines):]
	return "  " + strings.Join(all, "\n  ")
}

func lastBytes(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, _ = f.Seek(-most, io.SeekEnd) // It refuses only what is longer than the file, which then is read from its start.
	return io.ReadAll(f)
}
