"""For authors and instructors: proving a lab's checks, and building the student edition."""
