// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Paths of programs, each with a number, walked from the file that is under execution. */

#ifdef TYPES

/* The end of a path that is kept; longer ones lose their beginning, and PATH_CUT stands for their first slash. */
#define PATH_BYTES 512
#define PATH_CUT 1
#define PATH_COMPONENTS 48
#define NAME_BYTES 256

/* A file under execution holds its dentry and mount, so their addresses are not reused while it runs; the entry is
 * made anew at each exec, so an address that was reused since is never taken for the old file. */
struct image {
	u64 mount;
	u64 dentry;
};
#define DENTRY_IN_PATH 8

struct image_facts {
	u32 number;
	/* Whether it was ever started for a script. */
	u32 interprets;
};

/* Right-aligned, zeros before: a fixed-size key that is equal for equal paths. */
struct path {
	char bytes[PATH_BYTES];
};

/* A component is copied to where it belongs counting from the end, so a copy may reach NAME_BYTES past the path. */
struct path_scratch {
	char before[PATH_BYTES];
	struct path path;
	char after[NAME_BYTES];
	/* Read back as any number: see number_path. */
	volatile u32 last;
};

/* A cache: what is evicted is found again. */
BPF_TABLE("lru_hash", struct image, struct image_facts, images, 16384);
BPF_F_TABLE("hash", struct path, u32, paths, NAMED_ENTRIES, BPF_F_NO_PREALLOC);
BPF_PERCPU_ARRAY(scratch, struct path_scratch, 1);
BPF_PERCPU_ARRAY(path_numbers, u32, 1);

/* The verifier follows the range of `position` through every combination of steps, unless it has the same one after
 * each: always somewhere in the first two thirds of the buffer. */
static inline u32 forget_range(u32 position)
{
	asm volatile("" : "+r"(position));
	return position & (2 * PATH_BYTES - 1);
}

static inline struct path_scratch *clean_scratch(void)
{
	int zero = 0;
	struct path_scratch *buffer = scratch.lookup(&zero);

	if (!buffer)
		return NULL;
	u64 *words = (u64 *)buffer->path.bytes;
#pragma unroll
	for (int i = 0; i < PATH_BYTES / 8; i++)
		words[i] = 0;
	return buffer;
}

/* Number of the path in the scratch. Each processor numbers by itself. Paths are numbered where a process does
 * something, never in an interrupt, so nothing interferes. 0: no room. */
static u32 number_scratch(struct path_scratch *buffer)
{
	int zero = 0;
	u32 *known = paths.lookup(&buffer->path);

	if (known)
		return *known;
	u32 *count = path_numbers.lookup(&zero);
	if (!count)
		return 0;
	*count += 1;
	u32 number = (*count << 10) | (bpf_get_smp_processor_id() & 1023);
	if (!paths.insert(&buffer->path, &number))
		return number;
	known = paths.lookup(&buffer->path);
	return known ? *known : 0;
}

/* Writes the path of (dentry, mount) into the buffer, its last byte at `last`: walks up to the root of the mount namespace.
 * Then the number of what stands in the buffer. 0: not to be had. */
static u32 number_path(struct path_scratch *buffer, u64 dentry, u64 vfsmount, u32 last)
{
	u64 mount = vfsmount - OFFSET_mount_mnt, root = 0;
	bool whole = false;

	buffer->last = last;
	last = buffer->last;
	for (int i = 0; i < PATH_COMPONENTS; i++) {
		u64 parent = 0, name = 0;
		u32 stored_length = 0;

		last = forget_range(last);
		if (READ(root, vfsmount + OFFSET_vfsmount_mnt_root) || READ(parent, dentry + OFFSET_dentry_d_parent)) {
			add_one(LOST_UNREAD);
			return 0;
		}
		if (dentry == root) {
			u64 above = 0;
			READ(above, mount + OFFSET_mount_mnt_parent);
			if (above == mount || !above) {
				whole = true;
				break;
			}
			READ(dentry, mount + OFFSET_mount_mnt_mountpoint);
			mount = above;
			vfsmount = above + OFFSET_mount_mnt;
			continue;
		}
		/* A memfd's dentry is its own parent, and is not its mount's root: the name is all there is. */
		if (dentry == parent && i) {
			whole = true;
			break;
		}
		READ(name, dentry + OFFSET_dentry_d_name + OFFSET_qstr_name);
		READ(stored_length, dentry + OFFSET_dentry_d_name + OFFSET_qstr_len);
		u32 length = stored_length;
		/* One byte for the slash. */
		if (last < PATH_BYTES + (length & (NAME_BYTES - 1)))
			break;
		last = forget_range(last - (length & (NAME_BYTES - 1)));
		asm volatile("" : "+r"(length));
		length &= NAME_BYTES - 1;
		if (bpf_probe_read_kernel(buffer->before + last + 1, length, (void *)name)) {
			add_one(LOST_UNREAD);
			return 0;
		}
		buffer->before[last--] = '/';
		if (dentry == parent) {
			whole = true;
			break;
		}
		dentry = parent;
	}

	if (!whole)
		buffer->before[forget_range(last) + 1] = PATH_CUT;
	return number_scratch(buffer);
}

/* The file under execution in a process's memory (mm_struct). False if it cannot be read (then counted). */
static inline bool image_of(u64 memory, struct image *image)
{
	u64 file = 0;

	if (READ(file, memory + OFFSET_mm_struct_exe_file) || !file || READ(*image, file + OFFSET_file_f_path)) {
		add_one(LOST_UNREAD);
		return false;
	}
	return true;
}

/* Whether the file was deleted or replaced, or never had a name in a folder (memfd). */
static inline bool is_deleted(struct image *image)
{
	u64 hashed = 1;

	READ(hashed, image->dentry + OFFSET_dentry_d_hash + OFFSET_hlist_bl_node_pprev);
	return !hashed;
}

struct image_asked {
	struct image image;
	/* What may be known of it is of another file, which had its place before. */
	u64 started_now;
};

/* Its number; the upper half says whether it was ever started for a script. */
u64 facts_of_image(struct image_asked *asked)
{
	struct image_facts facts = {};

	if (!asked->started_now) {
		struct image_facts *known = images.lookup(&asked->image);
		if (known && known->number)
			return (u64)known->interprets << 32 | known->number;
	}
	struct path_scratch *buffer = clean_scratch();
	if (buffer)
		facts.number = number_path(buffer, asked->image.dentry, asked->image.mount, 2 * PATH_BYTES - 1);
	if (!facts.number && !asked->started_now)
		add_one(LOST_UNNAMED);
	images.update(&asked->image, &facts);
	return facts.number;
}
APART(facts_of_image, struct image_asked);

#endif
