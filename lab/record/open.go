package record

import (
	"fmt"
	"io"
	"os"
)

// Open opens a file of a run directory, which may be another person's. It refuses what is no regular file: a reader of a pipe waits for ever,
// and a device has no end.
func Open(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file (%s)", path, info.Mode().Type())
	}
	return os.Open(path)
}

// readFile is os.ReadFile for what Open opens.
func readFile(path string) ([]byte, error) {
	file, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}
