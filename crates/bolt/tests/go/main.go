// Command bbolt_check is the real bbolt, for the tests of etched-bolt.
//
//	check FILE        what bbolt's own check reports, one finding a line, and OK or FAILED
//	dump FILE         every bucket and entry, in hexadecimal
//	write FILE TEXT   makes a file of the buckets and entries in TEXT, which is what dump prints
//	churn FILE        deletes and puts in every bucket, checking after each transaction
//	golden FILE       makes the file of the folder golden: pages of 1 KiB, buckets within buckets, free pages
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"go.etcd.io/bbolt"
)

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: bbolt_check check|dump|write|churn|golden FILE [TEXT]"))
	}
	command, path := os.Args[1], os.Args[2]
	switch command {
	case "check":
		with(path, true, check)
	case "dump":
		with(path, true, dump)
	case "churn":
		with(path, false, churn)
	case "golden":
		with(path, false, golden)
	case "write":
		with(path, false, func(db *bbolt.DB) error { return write(db, os.Args[3]) })
	default:
		fail(fmt.Errorf("no command %q", command))
	}
}

func with(path string, readOnly bool, work func(*bbolt.DB) error) {
	options := &bbolt.Options{
		ReadOnly:       readOnly,
		NoFreelistSync: os.Getenv("NO_FREELIST_SYNC") != "",
		NoSync:         true,
	}
	if os.Args[1] == "golden" {
		options.PageSize = 1024
	}
	db, err := bbolt.Open(path, 0o600, options)
	if err != nil {
		fail(err)
	}
	if err := work(db); err != nil {
		fail(err)
	}
	if err := db.Close(); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Println("FAILED", err)
	os.Exit(1)
}

func check(db *bbolt.DB) error {
	return db.View(func(tx *bbolt.Tx) error {
		findings := 0
		for err := range tx.Check() {
			findings++
			fmt.Println(err)
		}
		if findings > 0 {
			return fmt.Errorf("%d findings", findings)
		}
		fmt.Println("OK")
		return nil
	})
}

func dump(db *bbolt.DB) error {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	return db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
			fmt.Fprintf(out, "bucket %s %d\n", hex.EncodeToString(name), bucket.Sequence())
			return bucket.ForEach(func(key, value []byte) error {
				_, err := fmt.Fprintf(out, "%s=%s\n", hex.EncodeToString(key), hex.EncodeToString(value))
				return err
			})
		})
	})
}

func write(db *bbolt.DB, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return db.Update(func(tx *bbolt.Tx) error {
		var bucket *bbolt.Bucket
		for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			if head, ok := strings.CutPrefix(line, "bucket "); ok {
				var name string
				var sequence uint64
				if _, err := fmt.Sscanf(head, "%s %d", &name, &sequence); err != nil {
					return err
				}
				bytes, err := hex.DecodeString(name)
				if err != nil {
					return err
				}
				if bucket, err = tx.CreateBucket(bytes); err != nil {
					return err
				}
				if err := bucket.SetSequence(sequence); err != nil {
					return err
				}
				continue
			}
			key, value, _ := strings.Cut(line, "=")
			keyBytes, err := hex.DecodeString(key)
			if err != nil {
				return err
			}
			valueBytes, err := hex.DecodeString(value)
			if err != nil {
				return err
			}
			if err := bucket.Put(keyBytes, valueBytes); err != nil {
				return err
			}
		}
		return nil
	})
}

func golden(db *bbolt.DB) error {
	fill := func(tx *bbolt.Tx) error {
		outer, err := tx.CreateBucketIfNotExists([]byte("outer"))
		if err != nil {
			return err
		}
		inner, err := outer.CreateBucketIfNotExists([]byte("inner"))
		if err != nil {
			return err
		}
		if _, err := outer.CreateBucketIfNotExists([]byte("inline")); err != nil {
			return err
		}
		for i := 0; i < 60; i++ {
			if err := inner.Put([]byte(fmt.Sprintf("inner-%03d", i)), make([]byte, i)); err != nil {
				return err
			}
		}
		if err := outer.SetSequence(9); err != nil {
			return err
		}
		plain, err := tx.CreateBucketIfNotExists([]byte("plain"))
		if err != nil {
			return err
		}
		for i := 0; i < 60; i++ {
			if err := plain.Put([]byte(fmt.Sprintf("%03d", i)), []byte(strings.Repeat("v", 3*i))); err != nil {
				return err
			}
		}
		return outer.Put([]byte("key"), []byte("value"))
	}
	if err := db.Update(fill); err != nil {
		return err
	}
	var size int64
	remove := func(tx *bbolt.Tx) error {
		for i := 0; i < 60; i += 3 {
			if err := tx.Bucket([]byte("plain")).Delete([]byte(fmt.Sprintf("%03d", i))); err != nil {
				return err
			}
		}
		return nil
	}
	if err := db.Update(remove); err != nil {
		return err
	}
	if err := db.View(func(tx *bbolt.Tx) error { size = tx.Size(); return nil }); err != nil {
		return err
	}
	path := db.Path()
	if err := db.Close(); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

// Deletes from the front, from the back and then every other key, as a compaction would, and puts new keys:
// bbolt has to merge and split the pages it was given.
func churn(db *bbolt.DB) error {
	rounds := []func(at, count int) bool{
		func(at, count int) bool { return at == count-1 },
		func(at, count int) bool { return at%2 == 0 },
		func(at, count int) bool { return at < count/2 },
		func(at, count int) bool { return at > 0 },
	}
	for round, chosen := range rounds {
		remove := func(bucket *bbolt.Bucket) error { return removeFrom(bucket, chosen) }
		add := func(bucket *bbolt.Bucket) error { return addTo(bucket, round) }
		for _, work := range []func(*bbolt.Bucket) error{remove, add} {
			err := db.Update(func(tx *bbolt.Tx) error {
				return tx.ForEach(func(_ []byte, bucket *bbolt.Bucket) error { return work(bucket) })
			})
			if err != nil {
				return err
			}
			if err := check(db); err != nil {
				return err
			}
		}
	}
	fmt.Println("OK")
	return nil
}

func removeFrom(bucket *bbolt.Bucket, chosen func(at, count int) bool) error {
	var keys [][]byte
	if err := bucket.ForEach(func(key, _ []byte) error {
		keys = append(keys, append([]byte(nil), key...))
		return nil
	}); err != nil {
		return err
	}
	for at, key := range keys {
		if chosen(at, len(keys)) {
			if err := bucket.Delete(key); err != nil {
				return err
			}
		}
	}
	return nil
}

func addTo(bucket *bbolt.Bucket, round int) error {
	for i := 0; i < 50; i++ {
		if err := bucket.Put([]byte(fmt.Sprintf("churn-%d-%d", round, i)), make([]byte, i*10)); err != nil {
			return err
		}
	}
	return nil
}
