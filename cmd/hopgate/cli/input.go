package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hopgate/hopgate/lang"
)

// maxInput is the largest file that is read whole, in bytes. What is in it may
// have a smaller limit.
const maxInput = 64 << 20

// readFile reads a file of any kind. The error is a lang.Diagnostics.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxInput+1))
	if err == nil && len(data) > maxInput {
		err = fmt.Errorf("it is larger than %d MiB", maxInput>>20)
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	return data, nil
}

// unreadable is the finding about a file that cannot be read.
func unreadable(path string, err error) error {
	if pathErr := new(fs.PathError); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return lang.Diagnostics{{
		Span: lang.Span{Source: lang.NewSource(path, nil)},
		Code: "unreadable-file", Message: fmt.Sprintf("cannot read the file: %v", err),
	}}
}
