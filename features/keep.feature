Feature: Keeping products
  Staff add, change and delete products, and never overwrite a colleague's work.

  Scenario: Create, and read back
    Given I have the catalogue open
    When I press "New"
    And I fill in
      | Name       | Picture                           | Description | Price | Rating | Category | Status   |
      | Copper pot | https://img.example.com/pot-1.jpg | For jam     | 49.95 | 5      | Kitchen  | Inactive |
    And I press "Save"
    Then I am told "Product has been created"
    And the catalogue has
      | name       | img_url                           | price | rating | category | status   |
      | Copper pot | https://img.example.com/pot-1.jpg | 49.95 | 5      | Kitchen  | inactive |
    And I see "Copper pot"
    When I press "New"
    And I open "Copper pot"
    Then the editor shows
      | Name       | Picture                           | Description | Price | Rating | Category | Status   |
      | Copper pot | https://img.example.com/pot-1.jpg | For jam     | 49.95 | 5      | Kitchen  | Inactive |
    And everyone can use the page

  Scenario: Create with what is required alone
    Given I have the catalogue open
    When I fill in
      | Name       | Picture                           | Price | Description |
      | Copper pot | https://img.example.com/pot-1.jpg | 7     |             |
    And I press "Save"
    Then I am told "Product has been created"
    And the catalogue has
      | name       | price | rating | category | status |
      | Copper pot | 7     | 0      |          | active |

  Scenario: Update
    Given these products
      | name       | price | category | status | rating |
      | Copper pot | 49.95 | Kitchen  | active | 3      |
      | Enamel mug | 8.00  | Kitchen  | active | 4      |
    And I have the catalogue open
    When I open "Copper pot"
    And I fill in
      | Price | Status   |
      | 39.95 | Disabled |
    And I press "Save"
    Then I am told "Product has been updated"
    And the catalogue has
      | name       | price | category | status   | rating |
      | Copper pot | 39.95 | Kitchen  | disabled | 3      |
      | Enamel mug | 8.00  | Kitchen  | active   | 4      |
    And I see these products
      | name       | price  | status   |
      | Copper pot | $39.95 | Disabled |
      | Enamel mug | $8.00  | Active   |

  Scenario: Two people change one product, and I choose member by member
    Given these products
      | name       | price | category | rating |
      | Copper pot | 49.95 | Kitchen  | 3      |
    And I have the catalogue open
    When I open "Copper pot"
    And a colleague sets the price of "Copper pot" to "45"
    And a colleague sets the category of "Copper pot" to "Jam"
    And I fill in
      | Price | Rating |
      | 39.95 | 5      |
    And I press "Save"
    Then I am asked to choose between
      | member   | mine    | theirs |
      | price    | 39.95   | 45.00  |
      | rating   | 5       | 3      |
      | category | Kitchen | Jam    |
    And the catalogue has
      | name       | price | category | rating |
      | Copper pot | 45    | Jam      | 3      |
    And everyone can use the page
    When I choose mine for "price" and theirs for "category"
    And I press "Save my choice"
    Then I am told "Product has been updated"
    And the catalogue has
      | name       | price | category | rating |
      | Copper pot | 39.95 | Jam      | 5      |

  Scenario: Nobody's work is lost when I turn back from a conflict
    Given these products
      | name       | price |
      | Copper pot | 49.95 |
    And I have the catalogue open
    When I open "Copper pot"
    And a colleague sets the price of "Copper pot" to "45"
    And I fill in
      | Price |
      | 39.95 |
    And I press "Save"
    And I press "Let it be"
    Then the editor shows
      | Price |
      | 39.95 |
    And the catalogue has
      | name       | price |
      | Copper pot | 45    |

  Scenario: What I save was deleted meanwhile
    Given these products
      | name       | price |
      | Copper pot | 49.95 |
    And I have the catalogue open
    When I open "Copper pot"
    And a colleague deletes "Copper pot"
    And I fill in
      | Price |
      | 39.95 |
    And I press "Save"
    Then I am told of "deleted"
    And the editor shows
      | Name       | Price |
      | Copper pot | 39.95 |
    And the catalogue is empty

  Scenario: Delete, and think better of it
    Given these products
      | name       |
      | Copper pot |
      | Enamel mug |
    And I have the catalogue open
    When I open "Enamel mug"
    And I press "Delete"
    And I press "No"
    Then I see "Copper pot, Enamel mug"
    When I press "Delete"
    Then everyone can use the page
    When I press "Yes"
    Then I see "Copper pot"
    And everyone can use the page
    When I press "Undo"
    Then I see "Copper pot, Enamel mug"
    When I open "Copper pot"
    And I press "Delete"
    And I press "Yes"
    Then I see "Enamel mug"
    When I press "Delete now"
    Then I am told "Product has been deleted"
    And the catalogue has
      | name       |
      | Enamel mug |

  Scenario Outline: What is wrong with <field> is said beside it: <value>
    Given I have the catalogue open
    When I fill in
      | Name       | Picture                           | Price | <field> |
      | Copper pot | https://img.example.com/pot-1.jpg | 7     | <value> |
    Then beside "<field>" it says "<message>"
    When I press "Save"
    Then I am told of "The product is not saved"
    And beside "<field>" it says "<message>"
    And the catalogue is empty

    Examples:
      | field       | value            | message                           |
      | Price       | cheap            | must be a number                  |
      | Price       | -1               | must be at least 0                |
      | Price       | 9.999            | must have at most two decimals    |
      | Price       | 10000000000      | must be at most 9999999999.99     |
      | Rating      | many             | must be an integer                |
      | Rating      | 4.5              | must be an integer                |
      | Rating      | -1               | must be at least 0                |
      | Rating      | 2147483648       | must be at most 2147483647        |
      | Name        | 256 letters      | must have at most 255 characters  |
      | Name        | 1 blank          | must have a visible character     |
      | Picture     | 2049 letters     | must have at most 2048 characters |
      | Picture     | 1 blank          | must have a visible character     |
      | Category    | 256 letters      | must have at most 255 characters  |
      | Description | 10001 letters    | must have at most 10000 characters|

  Scenario: Everything that is wrong is said at once, and goes as it is mended
    Given I have the catalogue open
    When I press "Save"
    Then beside "Name" it says "must not be empty"
    And beside "Picture" it says "must not be empty"
    And beside "Price" it says "is required"
    And everyone can use the page
    When I fill in
      | Name       |
      | Copper pot |
    Then beside "Name" it says nothing
    And beside "Picture" it says "must not be empty"

  Scenario: The picture can be seen before it is saved
    Given I have the catalogue open
    When I give the address of a picture
    Then the picture is seen
    When I fill in
      | Picture                   |
      | data:image/png;base64,AAA |
    Then a placeholder is seen for the picture

  Scenario: Nothing typed is lost by accident
    Given these products
      | name       |
      | Enamel mug |
    And I have the catalogue open
    Then I may leave the page
    When I fill in
      | Name       |
      | Copper pot |
    Then I am warned when I leave the page
    When I open "Enamel mug"
    And I press "No"
    Then the editor shows
      | Name       |
      | Copper pot |
    When I press "Clear"
    Then the editor is empty
    And I may leave the page
    When I press "Bring back"
    Then the editor shows
      | Name       |
      | Copper pot |

  Scenario Outline: Text is shown as it is, whatever is in it: <kind>
    Given I have the catalogue open
    When I fill in
      | Name   | Picture   | Price | Category | Description |
      | <text> | /<text>   | 1     | <text>   | <text>      |
    And I press "Save"
    Then I am told "Product has been created"
    And I see these products
      | name   | category |
      | <text> | <text>   |
    And the page has run nothing that was typed
    When I press "New"
    And I open "<text>"
    Then the editor shows
      | Name   | Category | Description |
      | <text> | <text>   | <text>      |
    When a colleague sets the name of "<text>" to "<text>2"
    And I fill in
      | Name    |
      | <text>1 |
    And I press "Save"
    Then I am asked to choose between
      | member | mine    | theirs  |
      | name   | <text>1 | <text>2 |
    And the page has run nothing that was typed

    Examples:
      | kind          | text                                        |
      | an element    | <img src=x onerror='document.title="ran"'>  |
      | a script      | </td><script>document.title="ran"</script>  |
      | an attribute  | " autofocus onfocus="document.title='ran'   |
      | an entity     | &lt;b&gt; &amp;amp; &#x202e;                |
      | a template    | ${document.title="ran"} {{7*7}} %s %00      |
      | emoji         | 👩‍🍳 🇨🇭 ☕️ kettle                            |
      | right to left | غلاية نحاسية 12 ליטר                         |
