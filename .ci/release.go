// Command release builds an archive of hopgate for each platform, and SHA256SUMS:
//
//	go run .ci/release.go -out dist
//
// or of those of -platforms alone. Their version is what the program says of itself: the
// tag of the commit, or what Go makes of its time and hash.
//
// The same commit built with the same Go gives the same bytes, whoever builds it
// and wherever: paths and times of the build are not in them.
package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// platforms are those that get an archive.
var platforms = []string{"linux/amd64", "linux/arm64", "windows/amd64", "windows/arm64", "darwin/amd64", "darwin/arm64"}

// texts go into each archive, beside the program: what the README names, too.
var texts = []string{"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "examples/*.hop", "examples/*.yaml", "examples/scenarios/*.yaml"}

// file is what an archive has at a name.
type file struct {
	name       string // with slashes
	executable bool
	content    []byte
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("release: ")
	out := flag.String("out", "dist", "folder for the archives")
	chosen := flag.String("platforms", strings.Join(platforms, ","), "what to build for")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatal("usage: go run .ci/release.go [-platforms SYSTEM/MACHINE,...] [-out DIR]")
	}
	if err := release(*out, strings.Split(*chosen, ",")); err != nil {
		log.Fatal(err)
	}
}

func release(out string, platforms []string) error {
	stamp, err := commitTime()
	if err != nil {
		return err
	}
	shared, err := sharedFiles()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return err
	}
	var sums strings.Builder
	for _, platform := range platforms {
		system, machine, _ := strings.Cut(platform, "/")
		program, version, err := build(system, machine)
		if err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		base := fmt.Sprintf("hopgate-%s-%s-%s", version, system, machine)
		files := append([]file{program}, shared...)
		write, name := writeTar, base+".tar.gz"
		if system == "windows" {
			write, name = writeZip, base+".zip"
		}
		hash := sha256.New()
		f, err := os.Create(filepath.Join(out, name))
		if err != nil {
			return err
		}
		if err := write(io.MultiWriter(f, hash), base, files, stamp); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", hash.Sum(nil), name) // as sha256sum -c reads it
	}
	fmt.Print(sums.String())
	return os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(sums.String()), 0o666)
}

// commitTime is that of the commit, for all files.
func commitTime() (time.Time, error) {
	text, err := exec.Command("git", "log", "-1", "--format=%cI").Output()
	if err != nil {
		return time.Time{}, fmt.Errorf("git log: %w", err)
	}
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(string(text)))
	return t.UTC(), err
}

func sharedFiles() ([]file, error) {
	var names []string
	for _, pattern := range texts {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	var files []file
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: filepath.ToSlash(name), content: content})
	}
	return files, nil
}

// build gives the program for a platform, and its version.
func build(system, machine string) (program file, version string, err error) {
	dir, err := os.MkdirTemp("", "hopgate-release")
	if err != nil {
		return file{}, "", err
	}
	defer os.RemoveAll(dir)
	name := "hopgate"
	if system == "windows" {
		name += ".exe"
	}
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-buildvcs=true", "-trimpath", "-ldflags=-s -w -buildid=", "-o", path, "./cmd/hopgate")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOOS="+system, "GOARCH="+machine)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return file{}, "", err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return file{}, "", err
	}
	content, err := os.ReadFile(path)
	return file{name: name, executable: true, content: content}, strings.Trim(info.Main.Version, "()"), err
}

func (f *file) mode() os.FileMode {
	if f.executable {
		return 0o755
	}
	return 0o644
}

func writeTar(w io.Writer, base string, files []file, stamp time.Time) error {
	compressed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{Name: path.Join(base, f.name), Mode: int64(f.mode()), Size: int64(len(f.content)), ModTime: stamp, Format: tar.FormatPAX}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(f.content); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return compressed.Close()
}

func writeZip(w io.Writer, base string, files []file, stamp time.Time) error {
	archive := zip.NewWriter(w)
	for _, f := range files {
		header := &zip.FileHeader{Name: path.Join(base, f.name), Method: zip.Deflate, Modified: stamp}
		header.SetMode(f.mode())
		entry, err := archive.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.content); err != nil {
			return err
		}
	}
	return archive.Close()
}
