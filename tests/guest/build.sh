#!/bin/sh
# Builds the images without Meson: build.sh DIRECTORY [CHAPTER...]; all of chapters.txt by default.
set -e
here=$(dirname "$0")
to=$1
shift
mkdir -p "$to"
while read -r name bits cpus; do
	case " $* " in
	"  " | *" $name "*) sh "$here/build_image.sh" "$to/$name.elf" "$bits" "$here/$name.c" ;;
	esac
done <"$here/chapters.txt"
