//go:build linux || windows

package cli

import (
	"io"
	"os"
)

// watched are the files a policy is read from, as they were.
type watched map[string]os.FileInfo

// watch notes which files the policy is read from, from now on.
func watch(o *kernelOptions) watched {
	w := watched{o.path: fileNow(o.path)}
	o.check.Open = func(path string) ([]byte, error) {
		w[path] = fileNow(path)
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, maxInput+1))
	}
	return w
}

func (w watched) changed() bool {
	for path, before := range w {
		now := fileNow(path)
		if now != nil && (before == nil || !os.SameFile(before, now) || before.Size() != now.Size() || !before.ModTime().Equal(now.ModTime())) {
			return true
		}
	}
	return false
}

// fileNow is nil for a file that is not there, as while an editor replaces it.
func fileNow(path string) os.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return info
}
