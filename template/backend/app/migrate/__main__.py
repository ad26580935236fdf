from app.migrate.cli import main

raise SystemExit(main())
